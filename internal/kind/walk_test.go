package kind

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/ckptool/ckpt/pkg/credmap"
)

type inner struct{ Peer FileRef }

type outer struct {
	inner
	Owner  credmap.UID
	Caps   credmap.Caps
	Plain  uint32
	Bytes  []byte
	List   []inner
	Array  [2]PID
	Maybe  *struct{ Task TaskRef }
	Absent *inner
}

func TestWalkFindsWhatHasAType(t *testing.T) {
	v := outer{inner: inner{1}, Owner: 2, Caps: 3, Plain: 4, Bytes: []byte{5}, List: []inner{{6}, {7}}, Array: [2]PID{8, 9}}
	v.Maybe = &struct{ Task TaskRef }{10}
	var got []string
	err := Walk(&v, func(v reflect.Value) error {
		got = append(got, fmt.Sprint(v.Interface()))
		return nil
	})
	if want := []string{"1", "2", "3", "6", "7", "8", "9", "10"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("visited %v (%v), want %v", got, err, want)
	}
}
