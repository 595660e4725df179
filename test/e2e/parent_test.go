package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/test/harness"
)

// TestParentEnds: a rstr that stays is the parent of the tree's root. The root gets its signal of the parent's end (PR_SET_PDEATHSIG) when
// that rstr ends, and not before. What becomes of it after --detach the fixture itself shows in TestFixtures.
func TestParentEnds(t *testing.T) {
	t.Parallel()
	j := fixture(t, "pdeathsig")
	image := j.dump()
	was := j.progress().Seq
	res := runs(t, harness.Command{Argv: []string{shared.tool("rstr"), "--verify", image}, Kill: 2 * time.Second})
	if res.Code() >= 0 {
		t.Fatalf("rstr did not stay: %v", res)
	}
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		p, err := harness.ReadStatus(j.status)
		if err != nil && strings.Contains(err.Error(), "the parent has ended") {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("rstr has ended, and the root does not know: %+v, %v", p, err)
		}
	}
	b := slurp(t, j.status)
	if !strings.Contains(b, "FAIL") || strings.Count(b[:strings.Index(b, "FAIL")], "\nseq ") < was+20 {
		t.Errorf("the signal came early: after %d there is\n%.200s", was, b[max(0, len(b)-200):])
	}
}
