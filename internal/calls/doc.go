// Package calls executes the calls of plans: in the tool itself (Tool), or as
// part of a program inside a stopped task (Program). It replaces names by
// values: results of earlier calls, descriptors, PIDs, times.
package calls
