package plan

// Class is what a ceiling of needs says of a demand: its term, and of a
// capability its name too. Whose ids and which files they are is not in it,
// since a restore may map and find them elsewhere.
func (d Demand) Class() string {
	if d.Term == "cap" {
		return "cap:" + d.Name
	}
	return d.Term
}

// AnyRestore are the classes of what every restore may demand: by the engine,
// or because of who the caller turns out to be.
func AnyRestore() []string {
	return []string{"uid", "gid", "group+", "group-", "pid:here", "exe-link", "map-files", "memory", "limit"}
}
