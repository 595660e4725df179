package cli

import "runtime/debug"

// Brief sets the Go runtime up for a program that does its work in moments:
// garbage may reach four times what is in use before it is collected. Small
// trees end before that, and of large memories no more than some buffers are
// held.
func Brief() { debug.SetGCPercent(400) }
