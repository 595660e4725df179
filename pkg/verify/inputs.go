package verify

import "strings"

// InputOption begins the names of options by which an image says what files held
// that its programs had read: the path follows, and the value is of a host's
// making. Such an option takes rights away and gives none.
const InputOption = "input:"

// Inputs are those files, by path.
func (i *Image) Inputs() map[string]string {
	out := map[string]string{}
	for name, value := range i.m.Header.Options {
		if path, ok := strings.CutPrefix(name, InputOption); ok {
			out[path] = value
		}
	}
	return out
}
