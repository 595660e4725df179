package plan

// ArgMade stands only in the Relocs of an ArgOut: the Size bytes at Off are
// not stored before the call but read after it, and are the result named Ref,
// as if they were the Out of a call of their own. If the call runs in the
// tool, the result is a descriptor of Ref as well.
const ArgMade ArgKind = 100

// FDs is a pointer to room for the descriptors that one call makes together
// (pipe2(2), socketpair(2)). Each is a result with the name that stands in
// its place; a zero Ref is a name that nobody needs.
func FDs(names ...Ref) Arg {
	a := Arg{Kind: ArgOut, Buf: make([]byte, 4*len(names))}
	for i, n := range names {
		a.Relocs = append(a.Relocs, Reloc{Off: 4 * i, Size: 4, Arg: Arg{Kind: ArgMade, Ref: n}})
	}
	return a
}

// Made lists the names that the argument gives to parts of its buffer, and
// where they are.
func (a Arg) Made(yield func(name Ref, off int) bool) {
	for _, r := range a.Relocs {
		if r.Arg.Kind == ArgMade && !r.Arg.Ref.IsZero() && !yield(r.Arg.Ref, r.Off) {
			return
		}
	}
}
