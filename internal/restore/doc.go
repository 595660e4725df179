// Package restore builds a tree of processes from a verified image.
//
// The flow: decode the records and check every reference (decode.go), let the
// kinds plan (steps.go), look whether this host can do it (preflight.go); then
// reserve all PIDs by the route that was chosen (route.go, tree.go, cycle.go),
// give up the right to that (lent.go), and stage after stage carry out the
// plan, in the tool (tool.go) and inside the parked tasks (tasks.go), with page
// contents in between (fill.go). A tree that gets other PIDs is told so where
// that can be done (renumber.go, procpath.go). At the end every thread waits at one barrier with its
// final registers prepared; setting it is the commit (commit.go). Until then
// the death of the tool is the death of the whole tree, afterwards it runs.
//
// The engine knows no kind by name.
package restore
