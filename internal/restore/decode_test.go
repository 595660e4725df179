package restore

import (
	"errors"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

func TestDraftIsAccepted(t *testing.T) {
	if err := newDraft(t).read(); err != nil {
		t.Fatal(err)
	}
}

// TestRefused holds one change each, and a part of the message that it leads to.
func TestRefused(t *testing.T) {
	task := func(i int, f func(*kind.TaskNode)) func(*draft) { return func(d *draft) { f(&d.tree.Tasks[i]) } }
	thread := func(f func(*kind.ThreadNode)) func(*draft) {
		return task(0, func(n *kind.TaskNode) { f(&n.Threads[1]) })
	}
	mm := func(f func(*kind.MMNode)) func(*draft) { return func(d *draft) { f(&d.tree.MMs[0]) } }
	odd := func(r toyFile) func(*draft) { return func(d *draft) { d.set(plan.OpenFile, 2, "odd", r) } }
	for name, c := range map[string]struct {
		change func(*draft)
		want   string
	}{
		"nobody":                 {func(d *draft) { d.tree.Tasks = nil }, "no root"},
		"a dead root":            {task(0, func(n *kind.TaskNode) { n.State = kind.Zombie }), "no root"},
		"a root with a parent":   {task(0, func(n *kind.TaskNode) { n.Parent = 2 }), "parent"},
		"its own parent":         {task(1, func(n *kind.TaskNode) { n.Parent = 2 }), "parent"},
		"a parent that is later": {task(1, func(n *kind.TaskNode) { n.Parent = 3 }), "parent"},
		"a parent that is dead":  {func(d *draft) { d.tree.Tasks = append(d.tree.Tasks, kind.TaskNode{ID: 4, Parent: 3, PID: 104}) }, "dead"},
		"one number, two tasks":  {task(1, func(n *kind.TaskNode) { n.ID = 1 }), "number 1"},
		"no number":              {task(1, func(n *kind.TaskNode) { n.ID = 0 }), "number 0"},
		"one PID, two tasks":     {task(2, func(n *kind.TaskNode) { n.PID = 102 }), "taken twice"},
		"a PID of a thread":      {task(2, func(n *kind.TaskNode) { n.PID = 101 }), "taken twice"},
		"PID 0":                  {task(2, func(n *kind.TaskNode) { n.PID = 0 }), "impossible"},
		"a negative PID":         {task(2, func(n *kind.TaskNode) { n.PID = -1 }), "impossible"},
		"a huge PID":             {task(2, func(n *kind.TaskNode) { n.PID = maxPID + 1 }), "impossible"},
		"a PID not reserved":     {task(2, func(n *kind.TaskNode) { n.PID = 104 }), "reserved"},
		"a PID reserved in vain": {func(d *draft) { d.m.PIDs = append(d.m.PIDs, 1) }, "reserved"},
		"a foreign group":        {task(1, func(n *kind.TaskNode) { n.Group = 1 }), "group"},
		"a foreign session":      {task(1, func(n *kind.TaskNode) { n.Session = 1 }), "session"},
		"a session never opened": {func(d *draft) { d.tree.Tasks[1].Session, d.tree.Tasks[0].Session = 103, 0 }, "session"},
		"an unknown state":       {task(1, func(n *kind.TaskNode) { n.State = 9 }), "state"},
		"an impossible signal":   {task(1, func(n *kind.TaskNode) { n.ExitSignal = 65 }), "state"},
		"an end by SIGSTOP":      {task(2, func(n *kind.TaskNode) { n.Exit = 19 }), "state"},
		"an end by signal 127":   {task(2, func(n *kind.TaskNode) { n.Exit = 127 }), "state"},
		"a large exit status":    {task(2, func(n *kind.TaskNode) { n.Exit = 1 << 16 }), "state"},
		"a long name":            {task(1, func(n *kind.TaskNode) { n.Comm = []byte("sixteen bytes ..") }), "name"},
		"a zombie with threads":  {task(2, func(n *kind.TaskNode) { n.Threads = make([]kind.ThreadNode, 1) }), "dead and has"},
		"a zombie with memory":   {task(2, func(n *kind.TaskNode) { n.MM = 1 }), "dead and has"},
		"a task without threads": {task(1, func(n *kind.TaskNode) { n.Threads = nil }), "first thread"},
		"another first thread":   {task(1, func(n *kind.TaskNode) { n.Threads[0].TID = 104 }), "first thread"},
		"no memory":              {task(1, func(n *kind.TaskNode) { n.MM = 7 }), "not there"},
		"no descriptors":         {task(1, func(n *kind.TaskNode) { n.FDTable = 7 }), "not there"},
		"no directories":         {task(1, func(n *kind.TaskNode) { n.FS = 0 }), "not there"},
		"thread numbered twice":  {thread(func(n *kind.ThreadNode) { n.ID = 1 }), "number 1"},
		"few registers":          {thread(func(n *kind.ThreadNode) { n.Regs = n.Regs[1:] }), "registers"},
		"32-bit code":            {thread(func(n *kind.ThreadNode) { n.Regs = make([]uint64, 27) }), "32-bit"},
		"few extended registers": {thread(func(n *kind.ThreadNode) { n.XStateLen = minXState - 1 }), "extended registers"},
		"none of them":           {thread(func(n *kind.ThreadNode) { n.XStateLen = 0 }), "extended registers"},
		"large registers":        {thread(func(n *kind.ThreadNode) { n.XStateLen = maxXState + 1 }), "extended registers"},
		"registers off the end":  {thread(func(n *kind.ThreadNode) { n.XStateOff = 4096 - minXState + 1 }), "extended registers"},
		"registers wrap around":  {thread(func(n *kind.ThreadNode) { n.XStateOff = ^uint64(0) - 10 }), "extended registers"},
		"no extended registers":  {func(d *draft) { d.tree.XState = 0 }, "extended registers"},
		"too many registers":     {func(d *draft) { d.m.Blobs[1].Extents[0].Len = 3*maxXState + 1 }, "too many"},
		"registers elsewhere":    {func(d *draft) { d.tree.XState = 3 }, "blob 3 of 2"},
		"registers far away":     {func(d *draft) { d.tree.XState = ^kind.BlobRef(0) }, "blob 4294967295 of 2"},
		"pages elsewhere":        {mm(func(m *kind.MMNode) { m.Pages = 3 }), "blob 3 of 2"},
		"pages outside":          {mm(func(m *kind.MMNode) { m.Used[0].Off = 0x20000 }), "has no memory"},
		"pages over the edge":    {mm(func(m *kind.MMNode) { m.Used[0].Len = 4095 }), "has no memory"},
		"memory wraps around":    {mm(func(m *kind.MMNode) { m.Used[0].Len = ^uint64(0) }), "1<<63"},
		"memory at the top":      {mm(func(m *kind.MMNode) { m.Used = image.Extents{{Off: 1<<63 - 4096, Len: 8192}} }), "1<<63"},
		"memory that overlaps":   {mm(func(m *kind.MMNode) { m.Used = append(m.Used, m.Used[0]) }), "extent 1"},
		"memory numbered twice":  {func(d *draft) { d.tree.MMs[1].ID = 1 }, "address space 1"},
		"nobody's memory":        {func(d *draft) { d.tree.MMs = append(d.tree.MMs, kind.MMNode{ID: 3}) }, "nobody's"},
		"mappings of another":    {func(d *draft) { d.tree.MMs[1].First = 2 }, "two address spaces"},
		"mapping 0":              {mm(func(m *kind.MMNode) { m.First = 0 }), "mapping 0"},
		"a million mappings":     {mm(func(m *kind.MMNode) { m.Mappings = 1 << 20 }), "1048576 mappings"},
		"all mappings":           {mm(func(m *kind.MMNode) { m.First, m.Mappings = 1, ^uint32(0) }), "4294967295 mappings"},
		"mappings wrap around":   {mm(func(m *kind.MMNode) { m.First = ^uint32(0) }), "mappings from"},
		"a table twice":          {func(d *draft) { d.tree.FDTables[1].ID = 1 }, "table 1"},
		"nobody's table":         {func(d *draft) { d.tree.FDTables = append(d.tree.FDTables, kind.FDTableNode{ID: 3}) }, "nobody's"},
		"a descriptor twice":     {func(d *draft) { d.tree.FDTables[0].FDs[1].Num = 0 }, "descriptor 0"},
		"a negative descriptor":  {func(d *draft) { d.tree.FDTables[0].FDs[0].Num = -1 }, "descriptor -1"},
		"a huge descriptor":      {func(d *draft) { d.tree.FDTables[0].FDs[1].Num = 1 << 24 }, "descriptor 16777216"},
		"a descriptor to nobody": {func(d *draft) { d.tree.FDTables[0].FDs[1].File = 0 }, "descriptor 5"},
		"an unclaimed file":      {func(d *draft) { d.tree.FDTables[0].FDs[1].File = 9 }, "file 9 has no record"},
		"shares tables by twos": {func(d *draft) { // 4 has the memory of 1 and the descriptors of 2: no clone(2) can do that
			n := kind.TaskNode{ID: 4, Parent: 1, PID: 104, Comm: []byte("x"), MM: 1, FDTable: 2, FS: 9, SigHand: 9, Threads: []kind.ThreadNode{d.tree.Tasks[1].Threads[0]}}
			n.Threads[0].ID, n.Threads[0].TID = 4, 104
			d.tree.Tasks = append(d.tree.Tasks, n)
			d.m.PIDs = append(d.m.PIDs, 104)
		}, "cannot be had"},

		"an unknown kind":         {func(d *draft) { d.add(plan.Task, 1, "new", nothing{}) }, "unknown to this program"},
		"a kind at another site":  {func(d *draft) { d.add(plan.Thread, 1, "note", nothing{}) }, "does not belong"},
		"a record of object 0":    {func(d *draft) { d.add(plan.Task, 0, "note", nothing{}) }, "does not belong"},
		"a site that is none":     {func(d *draft) { d.m.Records[0].Site = 200 }, "does not belong"},
		"claimed twice":           {func(d *draft) { d.add(plan.OpenFile, 1, "odd", toyFile{}) }, "claimed twice"},
		"told twice":              {func(d *draft) { d.add(plan.Task, 1, "note", nothing{}) }, "two records of kind note"},
		"unclaimed":               {func(d *draft) { d.m.Records = d.m.Records[1:] }, "refers to inode 1"},
		"a note left out":         {func(d *draft) { d.leaveOut(plan.Task, 2, "note") }, `process 102 ("two") has no record of kind note`},
		"an absent task":          {func(d *draft) { d.add(plan.Task, 3, "note", nothing{}) }, "not in the tree"},
		"an absent mapping":       {func(d *draft) { d.add(plan.Mapping, 4, "mapping", nothing{}) }, "not in the tree"},
		"a contributor alone":     {func(d *draft) { d.add(plan.OpenFile, 3, "even", toyFile{}) }, "not in the tree"},
		"another version":         {func(d *draft) { d.m.Records[0].Version = 2 }, "version 2"},
		"a body with more":        {func(d *draft) { d.m.Records[0].Body = []byte{0xa0, 0} }, "malformed"},
		"a body of another kind":  {func(d *draft) { d.m.Records[0].Body = []byte{0xa1, 1, 1} }, "malformed"},
		"a check that fails":      {func(d *draft) { d.add(plan.OpenFile, 1, "even", toyFile{Even: 3}) }, "odd"},
		"an inode that is absent": {odd(toyFile{Inode: 2}), "inode 2, which is not there"},
		"a file that is absent":   {odd(toyFile{Peer: 3}), "file 3, which is not there"},
		"a task that is absent":   {odd(toyFile{Task: 9}), "task 9, which is not there"},
		"a task that is dead":     {odd(toyFile{Task: 3}), "task 3, which is not there"},
		"a blob that is absent":   {odd(toyFile{Queue: 3}), "blob 3 of 2"},

		"a process outside":     {odd(toyFile{Owner: 1}), "process 1 is not part of the tree"},
		"a name nobody makes":   {odd(toyFile{Even: 1}), "nothing makes"},
		"made in another way":   {odd(toyFile{Even: 2, Inode: 1}), "in another way"},
		"made too late":         {odd(toyFile{Even: 3}), "made later"},
		"executed by nobody":    {odd(toyFile{Even: 4}), "no process acts"},
		"a pair with itself":    {func(d *draft) { d.set(plan.OpenFile, 2, "pair", toyFile{Peer: 2}) }, "nothing makes file 2"},
		"a file as a pair":      {func(d *draft) { d.set(plan.OpenFile, 1, "pair", toyFile{Peer: 2}) }, "in another way"},
		"a queue into a file":   {func(d *draft) { d.set(plan.OpenFile, 2, "pair", toyFile{Peer: 1, Queue: 1}) }, "another kind's"},
		"a reference to itself": {func(d *draft) { d.set(plan.OpenFile, 1, "file", toyFile{}) }, "nothing makes inode 0"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDraft(t)
			c.change(d)
			err := d.read()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if !errors.Is(err, image.ErrFormat) {
				t.Errorf("%v is not the image's fault", err)
			}
		})
	}
}
