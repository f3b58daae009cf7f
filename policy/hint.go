package policy

import (
	"fmt"
	"slices"
	"strings"
)

// functions are what Cedar calls, for hints.
var functions = []string{
	"contains", "containsAll", "containsAny", "isEmpty", "hasTag", "getTag", "ip", "decimal", "datetime", "duration",
	"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual", "isIpv4", "isIpv6", "isLoopback", "isMulticast",
	"isInRange", "toDate", "toTime", "offset", "durationSince", "toDays", "toHours", "toMinutes", "toSeconds", "toMilliseconds",
}

// nearest is the hint for a name that does not exist: what was probably meant, or nothing when no name is near.
func nearest(word string, names []string) string {
	best, least := "", len(word)/3+2 // more changes than that, and it is another word
	if len(word) > 64 {
		return ""
	}
	for _, name := range names {
		d := distance(strings.ToLower(word), strings.ToLower(name), least)
		if d < least || (d == least && best != "" && name < best) {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean `%s`?", best)
}

// nearestOf is nearest, and when nothing is near it lists what there is.
func nearestOf(word string, names []string) string {
	if hint := nearest(word, names); hint != "" || len(names) == 0 {
		return hint
	}
	const few = 12
	names = slices.Sorted(slices.Values(names))
	if len(names) > few {
		return "there are " + strings.Join(names[:few], ", ") + " and others; see the schema"
	}
	return "there are " + strings.Join(names, ", ")
}

// distance counts the letters to insert, delete, change or swap with a neighbour to make b of a. What is surely over limit
// is limit+1.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit + 1
	}
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}

// clip keeps what an error quotes short.
func clip(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
