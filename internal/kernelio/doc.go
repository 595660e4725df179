// Package kernelio makes system calls: it reads /proc, moves memory between
// processes, owns descriptors and changes this process's credentials. It
// decides nothing. Every function retries EINTR where the call may be
// repeated, and every error names the call and the object it was made on.
package kernelio
