package audit

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/onbehalf/obo/telemetry"
)

// clean cuts and cleans what a caller may choose freely. A token pasted into the wrong field, a terminal escape, a NUL that
// PostgreSQL would refuse: none of them may reach the trail, and none may keep a refusal out of it. One bad record would
// also fail the whole group that it is written with.
func (r *Record) clean() {
	r.ClientID = cleanText(r.ClientID, 256)
	r.Resource = cleanText(r.Resource, 512)
	r.Detail = cleanText(r.Detail, 512)
	r.ScopeAsked = cleanList(r.ScopeAsked, 100, 128)
	r.PolicyIDs = cleanList(r.PolicyIDs, 100, 256)
	r.Changes = cleanChanges(r.Changes, 64, 1024)
	if by := r.Authentication; by != nil {
		r.Authentication = &Authentication{
			Issuer: cleanText(by.Issuer, 512), ACR: cleanText(by.ACR, 256), AMR: cleanList(by.AMR, 16, 64), AuthTime: by.AuthTime.UTC(),
		}
	}
}

// cleanChanges is cleanList for changes.
func cleanChanges(list []Change, count, limit int) []Change {
	kept := list
	if len(list) > count {
		kept = list[:count-1]
	}
	var out []Change
	for _, c := range kept {
		out = append(out, Change{Path: cleanText(c.Path, 256), Before: cleanText(c.Before, limit), After: cleanText(c.After, limit)})
	}
	if more := len(list) - len(kept); more > 0 {
		out = append(out, Change{Path: fmt.Sprintf("... and %d more", more)})
	}
	return out
}

// cleanList cuts a list and says in its last entry how many are missing. The result is a copy.
func cleanList(list []string, count, limit int) []string {
	if len(list) == 0 {
		return nil
	}
	kept := list
	if len(list) > count {
		kept = list[:count-1]
	}
	out := make([]string, 0, len(kept)+1)
	for _, s := range kept {
		out = append(out, cleanText(s, limit))
	}
	if more := len(list) - len(kept); more > 0 {
		out = append(out, fmt.Sprintf("... and %d more", more))
	}
	return out
}

// cleanText returns one line of printable UTF-8 of at most limit bytes, without what looks like a secret.
func cleanText(s string, limit int) string {
	const mark = "..."
	if len(s) > 2*limit {
		s = s[:2*limit] // nobody makes us scan a megabyte
	}
	s = telemetry.Redact(strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s))
	if len(s) <= limit {
		return s
	}
	end := limit - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}
