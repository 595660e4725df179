// Package abi speaks the kernel's user-space interface without using it:
// parsers of the text files under /proc, layouts of the structs that system
// calls take and return, and the numbers that golang.org/x/sys/unix lacks.
// It performs no input or output; every function maps bytes to values or back.
//
// Parsers are exact about the lines they know and keep the lines they do not
// know in a field named Unknown, so that a newer kernel's addition is noticed
// by a test instead of being dropped from an image.
package abi
