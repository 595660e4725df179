// Package harness starts fixture programs, runs the built commands on them and looks at the outcome from outside.
//
// Parties: the test process, which is the subreaper of all it starts (so that a restored tree, whose parent has left, becomes its
// child and never waits for PID 1 to be reaped); the commands under test; the fixture, which checks itself and reports through its
// status file (testdata/fixtures/fix.h has the protocol).
package harness
