// Package credmap carries the users, groups and capabilities that an image
// names over to the host that restores it.
//
// The ids have types of their own so that one walk finds every id in every
// record: a kind that is added later is mapped without anybody remembering to.
package credmap

// UID is a user id as the dumper's user namespace shows it (credentials(7)).
type UID uint32

// GID is a group id as the dumper's user namespace shows it (credentials(7)).
type GID uint32

// Caps is a set of capabilities, bit n standing for capability n of
// include/uapi/linux/capability.h.
type Caps uint64

// Has says whether capability n is in the set.
func (c Caps) Has(n uint) bool { return n < 64 && c&(1<<n) != 0 }

// Within says whether every capability of c is also in d.
func (c Caps) Within(d Caps) bool { return c&^d == 0 }

// SeenUID is the owner of something that was only looked at, such as a file
// that stays where it is. It is compared, and nobody is ever given it, so it
// needs no place in a map.
type SeenUID uint32

// SeenGID is the group of something that was only looked at.
type SeenGID uint32
