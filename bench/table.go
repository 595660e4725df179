package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// print writes the table: for small targets milliseconds beyond the floor, for large ones the
// share of the floor's throughput. "Each" is what a thread, process or mapping adds, measured
// against a target with about a quarter of them, so that what every target costs is not in it:
// if the cost is linear, it is the same from 1x to 4x as from 4x to 16x.
func print(w io.Writer, rows []row, criu bool) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer t.Flush()
	fmt.Fprint(t, "case\tdump\tfloor\t\teach\tto /dev/null\tfloor\t\teach\tfrozen\trestore\tfloor\t\teach\timage\tdump RSS\trestore RSS\t")
	if criu {
		fmt.Fprint(t, "criu dump\tcriu restore\t")
	}
	fmt.Fprintln(t)
	for _, r := range rows {
		less := r.quarter(rows)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t", r.name, ms(r.dump), ms(r.floorDump), r.against(r.dump, r.floorDump), r.each(less, row.dumped))
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t", ms(r.dumpNull), ms(r.floorNull), r.against(r.dumpNull, r.floorNull), r.each(less, row.dumpedToNull), ms(r.frozen))
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t", ms(r.restore), ms(r.floorRestore), r.against(r.restore, r.floorRestore), r.each(less, row.restored))
		fmt.Fprintf(t, "%s\t%s\t%s\t", size(r.image), size(r.dumpRSS), size(r.restoreRSS))
		if criu {
			fmt.Fprintf(t, "%s\t%s\t", ms(r.criuDump), ms(r.criuRestore))
		}
		fmt.Fprintln(t)
	}
}

func (r row) against(took, floor time.Duration) string {
	if r.memory > 0 {
		return fmt.Sprintf("%.0f %%", 100*floor.Seconds()/took.Seconds())
	}
	return "+" + ms(took-floor)
}

func (r row) dumped() time.Duration       { return r.dump - r.floorDump }
func (r row) dumpedToNull() time.Duration { return r.dumpNull - r.floorNull }
func (r row) restored() time.Duration     { return r.restore - r.floorRestore }

// quarter finds the largest target of the same sort with at most a third of the pieces; nil if
// there is none.
func (r row) quarter(rows []row) (less *row) {
	for i := range rows {
		o := &rows[i]
		if o.sort == r.sort && o.pieces > 0 && 3*o.pieces <= r.pieces && (less == nil || o.pieces > less.pieces) {
			less = o
		}
	}
	return less
}

// each is what a piece costs that less doesn't have.
func (r row) each(less *row, took func(row) time.Duration) string {
	if less == nil {
		return ""
	}
	return fmt.Sprintf("%.0f µs", float64((took(r)-took(*less)).Nanoseconds())/1e3/float64(r.pieces-less.pieces))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}
