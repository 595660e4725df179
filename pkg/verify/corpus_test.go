package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// -update also writes the corpus of FuzzKRL: KRLs as ssh-keygen makes them.
func TestKRLCorpus(t *testing.T) {
	t.Parallel()
	const dir = "testdata/fuzz/FuzzKRL"
	if *update {
		b := newKRLBench(t)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, spec := range krlSpecs(t, b) {
			text := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", b.make(t, spec))
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if files, err := filepath.Glob(dir + "/*"); err != nil || len(files) < 10 {
		t.Errorf("%d files: %v", len(files), err)
	}
}
