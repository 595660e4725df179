package kindtest

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
)

// Known lists the fields of records that look wrong and are right, each with
// the reason, by "kind.Field.Field". A line that fits no field is an error.
type Known struct {
	Bytes map[string]string // byte strings: anything could be in them
	Names map[string]string // plain numbers whose names sound like ids
	Texts map[string]string // strings: what is not UTF-8 could be written and never read again
}

// Table checks what can be seen without a record.
func Table(t *testing.T, table kind.Table, known Known) {
	t.Helper()
	l := linter{errorf: t.Errorf, bytes: maps.Clone(known.Bytes), names: maps.Clone(known.Names), texts: maps.Clone(known.Texts)}
	seen := map[string]bool{}
	for _, k := range table {
		if seen[k.Name()] {
			t.Errorf("two kinds have the name %s", k.Name())
		}
		seen[k.Name()] = true
		l.kind(k)
	}
	for _, left := range []map[string]string{l.bytes, l.names, l.texts} {
		for name, why := range left {
			t.Errorf("%s, which is said to be right because %q, is no such field", name, why)
		}
	}
}

// validName is what names look like: they are in images for ever.
var validName = regexp.MustCompile(`^[a-z][a-z0-9]{1,31}$`)

type linter struct {
	errorf func(string, ...any)
	bytes  map[string]string
	names  map[string]string
	texts  map[string]string
	misfit bool // a record is nothing that can be encoded
}

func (l *linter) kind(k kind.Kind) {
	if !validName.MatchString(k.Name()) {
		l.errorf("the name %q", k.Name())
	}
	if k.Version() == 0 {
		l.errorf("%s has the version 0", k.Name())
	}
	site, record, err := types(k)
	if err != nil {
		l.errorf("%s: %v", k.Name(), err)
		return
	}
	if want := sites[k.Site()]; want != site {
		l.errorf("%s is at %v and takes a %v", k.Name(), k.Site(), site)
	}
	if record.Kind() != reflect.Struct {
		l.errorf("%s has a record that is a %v", k.Name(), record)
		return
	}
	l.misfit = false
	l.record(k.Name(), record)
	l.walked(k.Name(), record)
	if !l.misfit {
		l.mapped(k.Name(), record)
	}
}

// sites are the structs that kinds are given.
var sites = map[plan.Site]reflect.Type{
	plan.Task: reflect.TypeFor[*kind.TaskSite](), plan.Thread: reflect.TypeFor[*kind.ThreadSite](), plan.MM: reflect.TypeFor[*kind.MMSite](),
	plan.FDTable: reflect.TypeFor[*kind.FDTableSite](), plan.FS: reflect.TypeFor[*kind.FSSite](), plan.SigHand: reflect.TypeFor[*kind.SigHandSite](),
	plan.OpenFile: reflect.TypeFor[*kind.FileSite](), plan.Inode: reflect.TypeFor[*kind.InodeSite](),
	plan.Mapping: reflect.TypeFor[*kind.MappingSite](), plan.Namespace: reflect.TypeFor[*kind.NamespaceSite](),
}

// types finds S and R of the kind.Spec that a kind is made of.
func types(k kind.Kind) (site, record reflect.Type, err error) {
	t := reflect.TypeOf(k)
	if t.Kind() == reflect.Struct {
		if spec, ok := t.FieldByName("Spec"); ok {
			if dump, ok := spec.Type.FieldByName("Dump"); ok {
				return dump.Type.In(1), dump.Type.Out(0), nil
			}
		}
	}
	return nil, nil, fmt.Errorf("it was not made by kind.New")
}

// sounds like an id: then it has to have the type of one.
var soundsLikeID = regexp.MustCompile(`(^|[a-z])(UID|GID|PID|TID|EUID|EGID|SID|PGID|Uid|Gid|Pid|Tid|Owner|Group|Groups|Caps|Sender)s?$|^(Target|Parent|Session)$`)

var markers = []reflect.Type{reflect.TypeFor[credmap.UID](), reflect.TypeFor[credmap.GID](), reflect.TypeFor[credmap.SeenUID](), reflect.TypeFor[credmap.SeenGID](), reflect.TypeFor[credmap.Caps](), reflect.TypeFor[kind.PID](),
	reflect.TypeFor[kind.FileRef](), reflect.TypeFor[kind.InodeRef](), reflect.TypeFor[kind.TaskRef](), reflect.TypeFor[kind.BlobRef]()}

// record looks at the fields of a record's struct.
func (l *linter) record(at string, t reflect.Type) {
	keys := map[string]string{}
	for f := range fields(t) {
		name := at + "." + f.Name
		key, opts, _ := strings.Cut(f.Tag.Get("cbor"), ",")
		if !slices.Contains(strings.Split(opts, ","), "keyasint") {
			l.errorf("%s has no integer for a key", name)
			l.misfit = true
		}
		if keys[key] != "" {
			l.errorf("%s and %s have the same key", name, keys[key])
			l.misfit = true
		}
		keys[key] = name
		l.value(name, f.Name, f.Type)
	}
}

func (l *linter) value(at, name string, t reflect.Type) {
	switch t.Kind() {
	case reflect.Struct:
		l.record(at, t)
	case reflect.Pointer:
		l.value(at, name, t.Elem())
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && t.Kind() == reflect.Slice && t.Elem() == reflect.TypeFor[byte]() {
			l.excuse(l.bytes, at, "it is a string of bytes, which no walk looks into")
			return
		}
		l.value(at, name, t.Elem())
	case reflect.String:
		l.excuse(l.texts, at, "it is a string, and nothing that a target names has to be text")
	case reflect.Bool, reflect.Int8, reflect.Uint8, reflect.Int16, reflect.Uint16:
	case reflect.Int32, reflect.Uint32, reflect.Int64, reflect.Uint64:
		if !slices.Contains(markers, t) && soundsLikeID.MatchString(name) {
			l.excuse(l.names, at, fmt.Sprintf("it sounds like an id and is a %v", t))
		}
	default:
		l.errorf("%s is a %v: not one thing on every machine, or not one thing at all", at, t)
		l.misfit = true
	}
}

// excuse complains about a field unless there is a reason for it.
func (l *linter) excuse(list map[string]string, at, what string) {
	if list[at] == "" {
		l.errorf("%s: %s", at, what)
	}
	delete(list, at)
}

// walked says whether kind.Walk finds every id and reference of a record.
func (l *linter) walked(name string, t reflect.Type) {
	v := reflect.New(t)
	want := inhabit(v.Elem())
	got := 0
	count := func(v reflect.Value) error {
		if slices.Contains(markers, v.Type()) {
			got++
		}
		return nil
	}
	if err := kind.Walk(v.Interface(), count); err != nil || got != want {
		l.errorf("%s: the walk finds %d of %d ids and references (%v)", name, got, want, err)
	}
}

// marker is an id that stands in every id of a record before it is mapped.
const marker = 0x4b1d4b1d

// mapped says whether a map reaches every id of a record: the marker must be
// nowhere afterwards, under whatever type and name.
func (l *linter) mapped(name string, t reflect.Type) {
	v := reflect.New(t)
	inhabit(v.Elem())
	planted := plant(v.Elem())
	before, err := image.Marshal(v.Interface())
	if err != nil {
		l.errorf("%s: %v", name, err)
		return
	}
	ids := []credmap.Range{{From: marker, To: 7, Count: 1}}
	m, err := credmap.New(ids, ids, true)
	if err == nil {
		err = kind.MapIDs(v.Interface(), m, func(err error) error { return err })
	}
	if err != nil {
		l.errorf("%s: mapping its ids: %v", name, err)
		return
	}
	after, err := image.Marshal(v.Interface())
	encoded := []byte{0x1a, 0x4b, 0x1d, 0x4b, 0x1d} // RFC 8949, 3.1: an unsigned number of 4 bytes
	if was, left := bytes.Count(before, encoded), bytes.Count(after, encoded); err != nil || was != planted || left > 0 {
		l.errorf("%s: of %d ids that were planted, %d are in the record and %d survive the map (%v)", name, planted, was, left, err)
	}
}

// plant makes every user and group the marker: by the names of their types,
// and so also of types that a map does not know yet.
func plant(v reflect.Value) int {
	n := 0
	switch v.Kind() {
	case reflect.Pointer:
		return plant(v.Elem())
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			n += plant(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += plant(v.Field(i))
		}
	case reflect.Uint32:
		if name := v.Type().Name(); strings.HasSuffix(name, "UID") || strings.HasSuffix(name, "GID") {
			v.SetUint(marker)
			return 1
		}
	}
	return n
}

// inhabit puts an element into every slice and behind every pointer, and
// counts the ids and references that there are then.
func inhabit(v reflect.Value) int {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return inhabit(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		return inhabit(v.Index(0))
	case reflect.Array:
		n := 0
		for i := range v.Len() {
			n += inhabit(v.Index(i))
		}
		return n
	case reflect.Struct:
		n := 0
		for i := range v.NumField() {
			n += inhabit(v.Field(i))
		}
		return n
	}
	if slices.Contains(markers, v.Type()) {
		return 1
	}
	return 0
}

// fields are those of a struct as the codec sees them: of embedded structs
// too. A field that it would not see is passed on as it is, without a tag.
func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.Anonymous {
				if !yield(f) {
					return
				}
				continue
			}
			for g := range fields(f.Type) {
				if !yield(g) {
					return
				}
			}
		}
	}
}
