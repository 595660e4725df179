package allowed

import "strings"

// verdicts of matchList
const (
	unmatched = iota
	matched
	negated
)

// matchList compares s with a pattern list the way ssh_config(5), PATTERNS, says:
// a ! pattern that matches decides against s, wherever it stands.
func matchList(s, list string) int {
	result := unmatched
	for pattern := range strings.SplitSeq(list, ",") {
		rest, not := strings.CutPrefix(pattern, "!")
		if !matchPattern(s, rest) {
			continue
		}
		if not {
			return negated
		}
		result = matched
	}
	return result
}

// matchPattern compares all of s with pattern: * is any run of bytes, ? any one. It
// goes back to the last * only, so its time is at most the product of both lengths.
func matchPattern(s, pattern string) bool {
	i, j, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, mark = j, i
			j++
		case j < len(pattern) && (pattern[j] == '?' || pattern[j] == s[i]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[j:], "*") == ""
}

// plainNames are the members of a pattern list that are names, not patterns.
func plainNames(list string) []string {
	var names []string
	for p := range strings.SplitSeq(list, ",") {
		if p != "" && !strings.ContainsAny(p, "*?!") {
			names = append(names, p)
		}
	}
	return names
}
