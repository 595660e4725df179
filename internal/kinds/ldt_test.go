package kinds

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

func TestLDT(t *testing.T) {
	site := &kind.MMSite{ID: 7, Task: sampleTask()}
	asked, err := perform(LDT().Ask(site))
	if err != nil {
		t.Fatal(err)
	}
	_, steps := through(t, LDT(), site, asked...)
	golden(t, steps)
	through(t, LDT(), site, plan.Result{Ret: int64(uint32(0xffffffff - uint32(unix.ENOSYS) + 1))})
	refused(t, LDT(), site, "local descriptor table", plan.Result{Ret: 8})
}
