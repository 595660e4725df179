// Package kindtest is the suite that every kind passes, whatever it is: its
// record can be walked, its decoding is strict, its plan is pure and names
// nothing but what the record names.
//
// Table looks at what is known without a record, Records at records that were
// dumped from real processes (Dumped), Fuzz at whatever else decodes.
package kindtest
