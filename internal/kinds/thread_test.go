package kinds

import (
	"testing"
)

func TestThread(t *testing.T) {
	site := sampleThread()
	site.Stat.Comm = "a\xffb\n"
	_, steps := through(t, Thread(), site)
	golden(t, steps, `arm: prctl@thread 7(15,61ff620a00,0,0,0)`)

	site.Stat.Flags = pfIOWorker
	refused(t, Thread(), site, "worker")
	checks(t, Thread(),
		[]threadRecord{{}, {Comm: []byte("fifteen letters")}},
		map[string]threadRecord{
			"a name of 16 bytes": {Comm: []byte("sixteen letters.")},
			"a NUL":              {Comm: []byte("a\x00b")},
		})
}
