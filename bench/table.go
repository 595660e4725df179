package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// print writes the table: for small targets milliseconds beyond the floor, in all and for each
// thread, process or mapping, for large ones the share of the floor's throughput.
func print(w io.Writer, rows []row, criu bool) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer t.Flush()
	fmt.Fprint(t, "case\tdump\tfloor\t\tto /dev/null\tfloor\t\tfrozen\trestore\tfloor\t\timage\tdump RSS\trestore RSS\t")
	if criu {
		fmt.Fprint(t, "criu dump\tcriu restore\t")
	}
	fmt.Fprintln(t)
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t", r.name, ms(r.dump), ms(r.floorDump), r.against(r.dump, r.floorDump))
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t", ms(r.dumpNull), ms(r.floorNull), r.against(r.dumpNull, r.floorNull), ms(r.frozen))
		fmt.Fprintf(t, "%s\t%s\t%s\t", ms(r.restore), ms(r.floorRestore), r.against(r.restore, r.floorRestore))
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
	over := "+" + ms(took-floor)
	if r.pieces > 0 {
		over += fmt.Sprintf(", %.0f µs each", (took-floor).Seconds()*1e6/float64(r.pieces))
	}
	return over
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
