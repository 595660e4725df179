package kind

import "github.com/ckptool/ckpt/internal/plan"

// firstStream is the slot of standard input.
const firstStream = 240

// Stream is the plan's name for what takes the place of the description at
// descriptor n, from 0 to 2, where rstr's own standard streams do so: one
// description may have been several of them, and rstr's need not be one. A
// restore that finds it made puts it there instead of Main.
func (r FileRef) Stream(n int) plan.Ref {
	return plan.Ref{Site: plan.OpenFile, ID: uint32(r), Slot: firstStream + uint8(n)}
}
