package kinds

import (
	"testing"

	"github.com/ckptool/ckpt/internal/abi"
)

func TestTask(t *testing.T) {
	_, steps := through(t, Task(), sampleTask())
	golden(t, steps)

	site := sampleTask()
	site.Stat.Flags = abi.PFKthread
	refused(t, Task(), site, "kernel")
	site = sampleTask()
	site.Status.CoreDumping = true
	refused(t, Task(), site, "core")
	site = sampleTask()
	site.Status.X86Features = "shstk wrss"
	refused(t, Task(), site, "shadow stack (shstk wrss)")
	site = sampleTask()
	site.Status.UntagMask = 0x7fffffffffff
	refused(t, Task(), site, "tagged addresses")
}
