package cli

import "github.com/spf13/pflag"

// Usages describes the flags of f, one a line. A flag whose value may be left
// out is shown as --flag[=VALUE].
func Usages(f *pflag.FlagSet) string {
	shown := pflag.NewFlagSet("", pflag.ContinueOnError)
	shown.SortFlags = f.SortFlags
	f.VisitAll(func(fl *pflag.Flag) {
		if fl.NoOptDefVal != "" && fl.Value.Type() != "bool" && fl.Value.Type() != "count" {
			fl = optional(fl)
		}
		shown.AddFlag(fl)
	})
	return shown.FlagUsages()
}

// optional is a flag that takes no value, with what value it may take in its
// name: pflag would show the value that stands for none, which nobody types.
func optional(fl *pflag.Flag) *pflag.Flag {
	shown := *fl
	var value string
	value, shown.Usage = pflag.UnquoteUsage(fl)
	shown.Name += "[=" + value + "]"
	shown.NoOptDefVal, shown.DefValue = "true", "false"
	shown.Value = nothing{}
	return &shown
}

// nothing is the value of a flag without one.
type nothing struct{}

func (nothing) String() string   { return "false" }
func (nothing) Set(string) error { return nil }
func (nothing) Type() string     { return "bool" }
