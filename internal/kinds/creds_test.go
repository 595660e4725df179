package kinds

import (
	"os"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// capsOf are the capabilities of the given numbers.
func capsOf(bits ...int) (c credmap.Caps) {
	for _, b := range bits {
		c |= 1 << b
	}
	return c
}

func sameUID(n credmap.UID) kind.UIDs { return kind.UIDs{Real: n, Effective: n, Saved: n, FS: n} }
func sameGID(n credmap.GID) kind.GIDs { return kind.GIDs{Real: n, Effective: n, Saved: n, FS: n} }

// myCreds are those of this thread, as the kernel shows them.
func myCreds(t *testing.T) kind.Creds {
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	s, err := abi.ParseStatus(text)
	if err != nil {
		t.Fatal(err)
	}
	c := kind.CredsOf(s)
	asked, err := perform(Creds().Ask(sampleThread()))
	if err != nil {
		t.Fatal(err)
	}
	c.Securebits = uint32(asked[0].Ret)
	return c
}

// wanted are credentials that root can take on, by what is special about them.
func wanted(root kind.Creds) map[string]kind.Creds {
	user := root
	user.UID, user.GID = sameUID(1000), sameGID(1000)
	user.Groups = []credmap.GID{4, 1000, 1005}
	user.Caps = kind.CapSets{Bounding: root.Caps.Bounding}

	mixed := user
	mixed.UID = kind.UIDs{Real: 1000, Effective: 1001, Saved: 0, FS: 1002}
	mixed.GID = kind.GIDs{Real: 1000, Effective: 1001, Saved: 0, FS: 1002}

	able := user
	raw := capsOf(unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE)
	able.Caps = kind.CapSets{Inheritable: raw, Permitted: raw | capsOf(unix.CAP_CHOWN), Effective: capsOf(unix.CAP_CHOWN),
		Bounding: raw, Ambient: capsOf(unix.CAP_NET_RAW)}

	secure := able
	secure.Securebits = 1<<12 - 1&^secKeepCaps&^(1<<5) // every lock but that of keepcaps
	secure.NoNewPrivs = true

	keeper := root
	keeper.Securebits = secKeepCaps

	less := root
	less.Caps.Permitted &^= capsOf(unix.CAP_SYS_ADMIN)
	less.Caps.Effective = capsOf(unix.CAP_KILL)
	less.Caps.Inheritable = capsOf(unix.CAP_MKNOD) // and outside of the bounding set
	less.Caps.Bounding = capsOf(unix.CAP_KILL)

	suid := user
	suid.UID.Effective, suid.UID.Saved, suid.UID.FS = 0, 0, 0
	suid.Caps = root.Caps
	return map[string]kind.Creds{"user": user, "mixed": mixed, "able": able, "secure": secure,
		"keeper": keeper, "less": less, "suid": suid}
}

func TestCredsTaken(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become others")
	}
	root := myCreds(t)
	for name, want := range wanted(root) {
		t.Run(name, func(t *testing.T) {
			aside(t, func() {
				h := stateHost(plan.Thread)
				h.Caller.Creds, h.Caller.Born.Creds = root, root
				r := credsRecord{want}
				if err := Creds().Check(&r); err != nil {
					t.Error(err)
				}
				if err := performPlan(Creds().Plan(&r, h)); err != nil {
					t.Error(err)
				}
				if got := myCreds(t); !reflect.DeepEqual(got, want) {
					t.Errorf("became\n%+v, want\n%+v", got, want)
				}
			})
		})
	}
}

func TestCredsOfTheCaller(t *testing.T) {
	site := sampleThread()
	site.Status = &abi.Status{UID: abi.IDs{Real: 7, Effective: 7, Saved: 7, FS: 7}, Groups: []uint32{9, 4},
		CapBnd: 0xff, NoNewPrivs: true}
	record, _ := through(t, Creds(), site, plan.Result{Ret: 0x11})
	c := record.(*credsRecord).Creds
	h := stateHost(plan.Thread)
	h.Caller.Creds, h.Caller.Born.Creds = c, c
	golden(t, Creds().Plan(record, h))

	h.Caller.Born.NoNewPrivs, h.Caller.NoNewPrivs = false, false
	golden(t, Creds().Plan(record, h), `seal: prctl@thread 7(38,1,0,0,0)`)
}

func TestCredsNeeds(t *testing.T) {
	caller := kind.Creds{UID: sameUID(1000), GID: sameGID(100), Groups: []credmap.GID{4, 100},
		Caps: kind.CapSets{Bounding: 0xff, Permitted: 1}, Securebits: 1}
	for _, c := range []struct {
		change func(*kind.Creds)
		want   []string
	}{
		{func(c *kind.Creds) {}, nil},
		{func(c *kind.Creds) { c.UID.Saved, c.UID.FS = 0, 0 }, []string{"uid:0"}},
		{func(c *kind.Creds) { c.UID = sameUID(5) }, []string{"uid:5"}},
		{func(c *kind.Creds) { c.GID.Real = 4 }, []string{"gid:4"}},
		{func(c *kind.Creds) { c.Groups = []credmap.GID{4, 27} }, []string{"group+27", "group-100"}},
		{func(c *kind.Creds) { c.Caps.Permitted = 0 }, nil},
		{func(c *kind.Creds) { c.Caps.Permitted = capsOf(0, unix.CAP_CHECKPOINT_RESTORE) }, []string{"cap:checkpoint_restore"}},
		{func(c *kind.Creds) { c.Caps.Inheritable = capsOf(0, 5) }, []string{"cap:kill"}},
		{func(c *kind.Creds) { c.Caps.Bounding = 0x7f }, []string{"cap:setpcap"}},
		{func(c *kind.Creds) { c.Caps.Bounding = 0x1ff }, []string{"loosen:bset"}},
		{func(c *kind.Creds) { c.Caps.Bounding = 0x100 }, []string{"loosen:bset"}},
		{func(c *kind.Creds) { c.Securebits = 3 }, []string{"cap:setpcap"}},
		{func(c *kind.Creds) { c.Securebits = 2 }, []string{"loosen:securebits"}},
		{func(c *kind.Creds) { c.Securebits = 1 | secKeepCaps }, nil},
		{func(c *kind.Creds) { c.NoNewPrivs = true }, nil},
	} {
		want := caller
		c.change(&want)
		var got []string
		for _, n := range credsNeeds(want, caller) {
			got = append(got, n.Demand)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: needs %v, want %v", want, got, c.want)
		}
	}
	caller.NoNewPrivs = true
	want := caller
	want.NoNewPrivs = false
	if n := credsNeeds(want, caller); len(n) != 1 || n[0].Demand != "loosen:no_new_privs" {
		t.Errorf("needs %v", n)
	}
}

func TestCredsCheck(t *testing.T) {
	bad := func(change func(*kind.Creds)) (r credsRecord) {
		change(&r.Creds)
		return r
	}
	checks(t, Creds(), []credsRecord{{}, {wanted(kind.Creds{})["mixed"]}}, map[string]credsRecord{
		"user -1":               bad(func(c *kind.Creds) { c.UID.FS = ^credmap.UID(0) }),
		"group -1":              bad(func(c *kind.Creds) { c.Groups = []credmap.GID{1, ^credmap.GID(0)} }),
		"effective alone":       bad(func(c *kind.Creds) { c.Caps.Effective = 1 }),
		"ambient, not held":     bad(func(c *kind.Creds) { c.Caps.Ambient, c.Caps.Inheritable = 1, 1 }),
		"ambient, not to heirs": bad(func(c *kind.Creds) { c.Caps.Ambient, c.Caps.Permitted = 1, 1 }),
		"unsorted groups":       bad(func(c *kind.Creds) { c.Groups = []credmap.GID{2, 1} }),
		"too many groups":       bad(func(c *kind.Creds) { c.Groups = make([]credmap.GID, maxGroups+1) }),
		"unknown securebits":    bad(func(c *kind.Creds) { c.Securebits = 1 << 12 }),
	})
}
