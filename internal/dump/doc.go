// Package dump writes a tree of processes into an image.
//
// The flow: freeze every thread of the tree (tree.go), gather the sites, that
// is, the objects that the tree is made of, each once however many tasks
// share it (classes.go, files.go, inodes.go, mappings.go), find the kind that
// claims each and those that contribute (records.go), ask the target what
// only it can say (ask.go), and collect everything that no kind can save.
// Only when nothing is left to refuse is the output opened; memory and bulk
// contents are copied (memory.go, content.go), the tree runs on or ends, and
// the manifest is signed.
//
// The thread that froze the tree does what only a tracer may. Of a large tree
// everything else is done on all processors (parallel.go), and many threads are
// asked at the same time, since to wake one takes longer than its answers.
//
// The engine knows no kind by name. Whatever happens to it, the target runs
// on as it was: everything that is done inside of it heals itself
// (internal/inject).
package dump
