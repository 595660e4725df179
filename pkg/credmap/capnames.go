package credmap

import (
	"fmt"
	"slices"
)

// capNames are the names of capabilities(7), by number.
var capNames = [...]string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
	"setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
	"sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
	"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore",
}

// CapName is the name of a capability as demands and policies write it; the
// number of one that is newer than this program.
func CapName(bit uint) string {
	if bit < uint(len(capNames)) {
		return capNames[bit]
	}
	return fmt.Sprint(bit)
}

// CapNamed is the inverse of CapName for the names that it knows.
func CapNamed(name string) (bit uint, ok bool) {
	i := slices.Index(capNames[:], name)
	return uint(max(i, 0)), i >= 0
}
