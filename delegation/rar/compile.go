package rar

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Limits of what an org may register.
const (
	maxTypes       = 64
	maxSchema      = 16 << 10 // bytes of one schema
	maxFields      = 32       // of one object
	maxParts       = 200      // schemas in a schema: each value is held against each
	maxCovers      = 64       // of one type
	maxName        = 128      // bytes of the name of a type, a field or a tool
	maxPointer     = 256
	maxDescription = 1024
)

// Types are an org's registered types, compiled. The zero Types knows none. It never changes and is safe for many goroutines.
type Types struct {
	byName map[string]*definition
	byTool map[string][]governor // in the order of the types' names
}

// definition is one type, ready to read and compare objects.
type definition struct {
	name   string
	rules  map[string]Rule
	schema *jsonschema.Schema // closed at every level
}

// governor is a type that covers a tool, with what it compares.
type governor struct {
	*definition
	bounds []bound // in the order of the fields' names
}

// bound holds a field of a detail against an argument of a call.
type bound struct {
	field    string
	rule     Rule
	argument []string // a JSON pointer, in its parts
}

// Compile checks types. What is wrong comes back as an *InvalidError that names types and fields.
func Compile(types []Type) (Types, error) {
	if len(types) == 0 {
		return Types{}, nil
	}
	if len(types) > maxTypes {
		return Types{}, &InvalidError{[]Problem{{Message: fmt.Sprintf("%d types; at most %d", len(types), maxTypes)}}}
	}
	out := Types{byName: make(map[string]*definition, len(types)), byTool: map[string][]governor{}}
	schemas := newSchemas()
	var found []Problem
	for _, t := range types {
		p := &problems{typ: t.Name}
		d := &definition{name: t.Name, rules: maps.Clone(t.Narrowing)}
		switch {
		case !isName(t.Name) || strings.Contains(t.Name, " "):
			p.add("", "a name has 1 to %d printable ASCII characters, without spaces, quotes and backslashes", maxName)
		case out.byName[t.Name] != nil:
			p.add("", "registered twice")
		case len(t.Description) > maxDescription:
			p.add("", "its description has more than %d bytes", maxDescription)
		default:
			d.schema = schemas.compile(t, p)
			out.govern(d, t.Covers, p)
		}
		out.byName[t.Name] = d
		found = append(found, p.list...)
	}
	if len(found) > 0 {
		return Types{}, &InvalidError{found}
	}
	for _, governors := range out.byTool {
		slices.SortFunc(governors, func(a, b governor) int { return cmp.Compare(a.name, b.name) })
	}
	return out, nil
}

// govern takes the tools that a type covers.
func (t Types) govern(d *definition, covers []Cover, p *problems) {
	if len(covers) > maxCovers {
		p.add("", "it covers %d tools; at most %d", len(covers), maxCovers)
		return
	}
	seen := map[string]bool{}
	for _, c := range covers {
		switch {
		case !isName(c.Tool):
			p.add("", "it covers %s, which is no name of a tool", name(c.Tool))
			continue
		case seen[c.Tool]:
			p.add("", "it covers tool %s twice", name(c.Tool))
			continue
		}
		seen[c.Tool] = true
		g := governor{definition: d}
		for _, field := range slices.Sorted(maps.Keys(c.Arguments)) {
			rule, ok := d.rules[field]
			if !ok {
				p.add(field, "tool %s is covered by it, and the schema does not have it", name(c.Tool))
				continue
			}
			argument, err := splitPointer(c.Arguments[field])
			if err != nil {
				p.add(field, "tool %s: its argument %v", name(c.Tool), err)
				continue
			}
			g.bounds = append(g.bounds, bound{field, rule, argument})
		}
		t.byTool[c.Tool] = append(t.byTool[c.Tool], g)
	}
}

// splitPointer reads a JSON pointer (RFC 6901) to something within the arguments.
func splitPointer(pointer string) ([]string, error) {
	rest, ok := strings.CutPrefix(pointer, "/")
	if !ok || len(pointer) > maxPointer {
		return nil, fmt.Errorf(`is a JSON pointer such as "/amount", of at most %d bytes`, maxPointer)
	}
	parts := strings.Split(rest, "/")
	for i, part := range parts {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(part), "~") {
			return nil, fmt.Errorf("is no JSON pointer: a ~ is written ~0, a / in a name ~1")
		}
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
	}
	return parts, nil
}

// isName reports whether a name can stand between quotes as it is, here and in a policy.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r > '~' || r == '"' || r == '\\'
	})
}

// Names are the types' names, sorted.
func (t Types) Names() []string { return slices.Sorted(maps.Keys(t.byName)) }

// Has reports whether there is such a type.
func (t Types) Has(name string) bool { return t.byName[name] != nil }

// Governs reports whether a type covers the tool, so that a call of it needs a detail.
func (t Types) Governs(tool string) bool { return len(t.byTool[tool]) > 0 }
