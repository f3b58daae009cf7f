package rar

import (
	"slices"
	"strings"
)

// within reports whether a field's value is within the wider's.
func (r Rule) within(narrow, wide value) bool {
	switch r {
	case Equal:
		return narrow.compare(wide) == 0
	case Subset:
		return narrow.kind == kindArray && wide.kind == kindArray && !slices.ContainsFunc(narrow.items, wide.lacks)
	case AtMost:
		return narrow.kind == kindNumber && wide.kind == kindNumber && narrow.number.compare(wide.number) <= 0
	case Prefix:
		return narrow.kind == kindString && wide.kind == kindString && strings.HasPrefix(narrow.text, wide.text)
	}
	return false
}

// admits reports whether a bound lets an argument of a call through. An array bounds an array, and one element too.
func (r Rule) admits(bound, argument value) bool {
	switch {
	case r == Subset && argument.kind != kindArray:
		return bound.kind == kindArray && !bound.lacks(argument)
	case r == Subset && len(argument.items) == 0: // to many a provider a list of nothing is no list, and so no limit
		return false
	case r == Prefix && climbs(argument.text):
		return false
	}
	return r.within(argument, bound)
}

// decodings is how often an argument is decoded in search of what it hides.
const decodings = 5

var decoder = strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`, "%25", "%")

// climbs reports whether a path leaves a folder: "acme/../globex" begins with "acme/" and is not below it. Whoever gets it may
// take either slash, and decode it any number of times.
func climbs(path string) bool {
	for range decodings {
		parts := strings.FieldsFunc(path, func(c rune) bool { return strings.ContainsRune(`/\;?#`, c) })
		if slices.Contains(parts, "..") {
			return true
		}
		next := decoder.Replace(path)
		if next == path {
			return false
		}
		path = next
	}
	return true
}

// lacks reports whether an array of a detail, in the form of the rule subset, has no such element.
func (v value) lacks(element value) bool {
	_, ok := slices.BinarySearchFunc(v.items, element, value.compare)
	return !ok
}

// types says which JSON types a rule can compare.
func (r Rule) types() []string {
	switch r {
	case Equal:
		return []string{"string", "integer", "number", "boolean", "array", "object"}
	case Subset:
		return []string{"array"}
	case AtMost:
		return []string{"integer", "number"}
	case Prefix:
		return []string{"string"}
	}
	return nil
}

// canonical gives a value the one form that it has under the rule: under subset an array is a set, in order and each element
// once.
func (r Rule) canonical(v value) value {
	if r != Subset || v.kind != kindArray {
		return v
	}
	slices.SortFunc(v.items, value.compare)
	v.items = slices.CompactFunc(v.items, func(a, b value) bool { return a.compare(b) == 0 })
	return v
}
