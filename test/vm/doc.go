// Package vm runs a program as root in a virtual machine of its own: with another kernel than the host's, with every
// capability, or with a TPM as a device. It boots Debian's cloud kernel with the program in its initramfs, without hardware
// virtualization, in about two seconds.
//
//	out := vm.Run(t, vm.Machine{
//		Files: map[string]string{"/bin/prog": hostPath},
//		Argv:  []string{"/bin/prog", "-x"},
//		TPM:   true,
//	})
//
// Programs must be static, or bring their libraries as files. They find /proc, /sys, /dev, /tmp (all of it memory) and
// the loopback interface up, and nothing else.
package vm
