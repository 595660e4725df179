package restore

import (
	"errors"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
)

type owned struct {
	UID    credmap.UID   `cbor:"1,keyasint"`
	Groups []credmap.GID `cbor:"2,keyasint,omitempty"`
}

// ownedTable adds a kind with ids to the toys. Its check refuses user 666.
func ownedTable() kind.Table {
	return append(toys(), kind.New(kind.Spec[*kind.TaskSite, owned]{Name: "owned", At: plan.Task,
		Check: func(o owned) error {
			if o.UID == 666 {
				return errors.New("the beast")
			}
			return nil
		},
		Plan: func(o owned, _ *kind.Host) []plan.Step {
			return []plan.Step{{Stage: plan.Creds, Text: "be somebody", Ops: []plan.Op{plan.Call{}}, Needs: []plan.Need{
				{Demand: "uid:" + strings.Repeat("1", int(o.UID)), Why: "x"}}}}
		}}))
}

func mappedContent(t *testing.T, m *credmap.Map) (*content, error) {
	t.Helper()
	d := newDraft(t)
	d.add(plan.Task, 1, "owned", owned{5, []credmap.GID{1, 2, 3}})
	d.add(plan.Task, 2, "owned", owned{6, nil})
	b, err := image.Marshal(&d.tree)
	if err != nil {
		t.Fatal(err)
	}
	d.m.Tree = b
	c, err := decode(&d.m, ownedTable())
	if err != nil {
		t.Fatal(err)
	}
	return c, c.mapIDs(m)
}

func newMap(t *testing.T, uids, gids []credmap.Range, rest bool) *credmap.Map {
	t.Helper()
	m, err := credmap.New(uids, gids, rest)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMapIDs(t *testing.T) {
	m := newMap(t, []credmap.Range{{From: 5, To: 2, Count: 2}}, []credmap.Range{{From: 1, To: 9, Count: 1}}, true)
	c, err := mappedContent(t, m)
	if err != nil {
		t.Fatal(err)
	}
	var got []owned
	for _, r := range c.records {
		if o, ok := r.body.(*owned); ok {
			got = append(got, *o)
		}
	}
	if len(got) != 2 || got[0].UID != 2 || got[1].UID != 3 || len(got[0].Groups) != 3 || got[0].Groups[0] != 2 || got[0].Groups[2] != 9 {
		t.Errorf("%+v", got)
	}
	// A demand for what it became says what it was.
	w := wanting{ids: m, rights: rights{caller: user()}, seen: map[[2]string]bool{}}
	for _, d := range []string{"uid:2", "own:3:9", "group+9", "oom"} {
		w.add("x", plan.Need{Demand: d})
	}
	if u := w.all[0].UID; u == nil || u.From != 5 || u.To != 2 {
		t.Errorf("%+v", w.all[0])
	}
	if u, g := w.all[1].UID, w.all[1].GID; u == nil || g == nil || u.From != 6 || u.To != 3 || g.From != 1 || g.To != 9 {
		t.Errorf("%+v", w.all[1])
	}
	if g := w.all[2].GID; g == nil || g.From != 1 || w.all[3].UID != nil || w.all[3].GID != nil {
		t.Errorf("%+v", w.all[2:])
	}
}

// Without a place for each id nothing is restored, and the message names them.
func TestUnmapped(t *testing.T) {
	_, err := mappedContent(t, newMap(t, []credmap.Range{{From: 5, To: 2, Count: 1}}, nil, false))
	var e *MapError
	if !errors.As(err, &e) || len(e.IDs) != 4 || !strings.Contains(err.Error(), "user 6") || !strings.Contains(err.Error(), "group 3") {
		t.Error(err)
	}
}

func TestCheckedAgain(t *testing.T) {
	_, err := mappedContent(t, newMap(t, []credmap.Range{{From: 6, To: 666, Count: 1}}, nil, true))
	if !errors.Is(err, image.ErrFormat) || !strings.Contains(err.Error(), "beast") {
		t.Error(err)
	}
}

// Two become one where what stays meets what was mapped.
func TestNoTwoBecomeOne(t *testing.T) {
	if _, err := mappedContent(t, newMap(t, []credmap.Range{{From: 6, To: 5, Count: 1}}, nil, true)); err == nil || !strings.Contains(err.Error(), "become one") {
		t.Error(err)
	}
}
