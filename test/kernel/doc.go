// Package kernel tests the interfaces of the kernel that a restore without root leans on, as ordinary users meet them: with
// CAP_CHECKPOINT_RESTORE alone, without any capability, and in a user namespace of their own. Its tests run on this host's kernel and,
// in virtual machines, on older ones.
package kernel
