// Package plan holds what a restore will do, as data.
//
// A kind turns its record into Steps; a Step says at which Stage it belongs,
// which authority it needs and why, and which system calls (Call) or bulk
// transfers (Move) carry it out. Plans are data and not closures so that the
// engine can batch the calls of a process into one program, rstr --plan can
// print them, tests can compare them and an error leads back to its object.
//
// A Call names the place that executes it by the Ref of a site: the zero Ref
// is the tool itself, a thread is that thread, and every other site stands
// for the task that the engine chose to represent it. Results are named by
// Refs as well: the call that makes the descriptor of open file 7 says
// Out: Ref{OpenFile, 7, 0}, and whoever needs that descriptor says FD(ref).
// When a task's call names a descriptor that lives in the tool, the engine
// brings it there. Calls are ordered inside a stage by the flow of results.
package plan
