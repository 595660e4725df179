package credmap

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Range is a run of ids of the image and where they are on this host: From+i
// becomes To+i for i below Count.
type Range struct{ From, To, Count uint32 }

func (r Range) String() string {
	if r.Count == 1 {
		return fmt.Sprintf("%d:%d", r.From, r.To)
	}
	return fmt.Sprintf("%d:%d:%d", r.From, r.To, r.Count)
}

// none is the id -1, which means nobody to the kernel (setresuid(2)).
const none = 1<<32 - 1

// MaxRanges is how many ranges a map may have; the kernel takes 340 for a
// user namespace (user_namespaces(7)).
const MaxRanges = 4096

// Errors of maps. They say which range or id.
var (
	ErrMap      = errors.New("no map")           // New: ranges that overlap, overflow or are too many
	ErrUnmapped = errors.New("id is not mapped") // and the rest is not said to stay as it is
	ErrClash    = errors.New("two ids of the image would become one")
)

// Map leads from the ids of an image to those of this host. The nil Map
// changes nothing. A Map remembers whom it has mapped, so that no two ids of an
// image become one, and the way back is known.
type Map struct{ uids, gids table }

// table is one half of a Map.
type table struct {
	ranges []Range // by From
	rest   bool    // what is in no range stays as it is
	to     map[uint32]uint32
	from   map[uint32]uint32
}

// New makes a map of users and groups. rest says that ids in no range stay as
// they are; otherwise they are errors.
func New(uids, gids []Range, rest bool) (*Map, error) {
	u, err := newTable(uids, rest)
	if err != nil {
		return nil, fmt.Errorf("map of users: %w", err)
	}
	g, err := newTable(gids, rest)
	if err != nil {
		return nil, fmt.Errorf("map of groups: %w", err)
	}
	return &Map{u, g}, nil
}

func newTable(ranges []Range, rest bool) (table, error) {
	t := table{ranges: slices.Clone(ranges), rest: rest, to: map[uint32]uint32{}, from: map[uint32]uint32{}}
	if len(ranges) > MaxRanges {
		return t, fmt.Errorf("%w: %d ranges, more than %d", ErrMap, len(ranges), MaxRanges)
	}
	for _, r := range ranges {
		if r.Count == 0 || r.Count > none-r.From || r.Count > none-r.To {
			return t, fmt.Errorf("%w: %v names no ids, or -1, or none that there are", ErrMap, r)
		}
	}
	for _, start := range []func(Range) uint32{func(r Range) uint32 { return r.To }, func(r Range) uint32 { return r.From }} {
		slices.SortFunc(t.ranges, func(a, b Range) int { return cmp.Compare(start(a), start(b)) })
		for i := 1; i < len(t.ranges); i++ {
			if a, b := t.ranges[i-1], t.ranges[i]; start(b)-start(a) < a.Count {
				return t, fmt.Errorf("%w: %v and %v overlap", ErrMap, a, b)
			}
		}
	}
	return t, nil
}

// UID maps a user. Errors are ErrUnmapped and ErrClash.
func (m *Map) UID(id UID) (UID, error) {
	if m == nil {
		return id, nil
	}
	to, err := m.uids.look(uint32(id))
	if err != nil {
		return none, fmt.Errorf("user %d: %w", id, err)
	}
	return UID(to), nil
}

// GID maps a group. Errors are ErrUnmapped and ErrClash.
func (m *Map) GID(id GID) (GID, error) {
	if m == nil {
		return id, nil
	}
	to, err := m.gids.look(uint32(id))
	if err != nil {
		return none, fmt.Errorf("group %d: %w", id, err)
	}
	return GID(to), nil
}

// SeenUID maps the owner of what was seen; nobody if it is not mapped.
func (m *Map) SeenUID(id SeenUID) SeenUID {
	if m == nil {
		return id
	}
	return SeenUID(m.uids.seen(uint32(id)))
}

// SeenGID maps the group of what was seen; nobody if it is not mapped.
func (m *Map) SeenGID(id SeenGID) SeenGID {
	if m == nil {
		return id
	}
	return SeenGID(m.gids.seen(uint32(id)))
}

// OfUID is the user of the image that was mapped to id.
func (m *Map) OfUID(id uint32) uint32 {
	if m == nil {
		return id
	}
	return m.uids.of(id)
}

// OfGID is the group of the image that was mapped to id.
func (m *Map) OfGID(id uint32) uint32 {
	if m == nil {
		return id
	}
	return m.gids.of(id)
}

// look maps an id that is somebody's, and remembers it.
func (t *table) look(id uint32) (uint32, error) {
	if to, ok := t.to[id]; ok {
		return to, nil
	}
	to, ok := t.find(id)
	if !ok {
		return none, ErrUnmapped
	}
	if other, taken := t.from[to]; taken {
		return none, fmt.Errorf("%w: %d, which %d has become", ErrClash, to, other)
	}
	t.to[id], t.from[to] = to, id
	return to, nil
}

// find maps an id. -1 is nobody, and nobody becomes it.
func (t *table) find(id uint32) (uint32, bool) {
	if id == none {
		return none, false
	}
	i, exact := slices.BinarySearchFunc(t.ranges, id, func(r Range, id uint32) int { return cmp.Compare(r.From, id) })
	if !exact {
		i--
	}
	if i >= 0 && id-t.ranges[i].From < t.ranges[i].Count {
		return t.ranges[i].To + (id - t.ranges[i].From), true
	}
	return id, t.rest
}

func (t *table) seen(id uint32) uint32 {
	if to, ok := t.find(id); ok {
		return to
	}
	return none
}

// of is the way back for ids that look has seen; for others it is the id
// itself, since those are the host's own.
func (t *table) of(id uint32) uint32 {
	if from, ok := t.from[id]; ok {
		return from
	}
	return id
}
