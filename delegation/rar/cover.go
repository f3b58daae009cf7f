package rar

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/onbehalf/obo/jose"
)

// maxArguments is how many bytes of a call's arguments are read.
const maxArguments = 1 << 20

// Cover finds, for each type that governs the tool, the first detail that alone covers the call's arguments (EX8): each field
// that the detail has and the type maps to an argument lets that argument through. An argument that is not there is not
// covered. A tool that no type governs needs no detail. Errors wrap ErrNotCovered, and ErrDetails when raw cannot be read.
func (t Types) Cover(raw []byte, tool string, args []byte) (map[string]Detail, error) {
	governors := t.byTool[tool]
	if len(governors) == 0 {
		return nil, nil //nolint:nilnil // no detail is needed, and none is found
	}
	if len(raw) == 0 {
		return nil, notCovered(governors[0], "the token has none")
	}
	details, err := t.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCovered, err)
	}
	arguments, err := readArguments(args)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCovered, err)
	}
	out := make(map[string]Detail, len(governors))
	for _, g := range governors {
		if out[g.name], err = g.first(details, arguments); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func notCovered(g governor, why string) error {
	return fmt.Errorf("%w: it needs one of type %s, and %s", ErrNotCovered, name(g.name), why)
}

func readArguments(args []byte) (value, error) {
	if len(args) > maxArguments {
		return value{}, fmt.Errorf("the arguments have more than %d bytes", maxArguments)
	}
	if len(args) == 0 {
		args = []byte("{}")
	}
	var v value
	if err := jose.Decode(args, &v); err != nil || v.kind != kindObject {
		return value{}, errors.New("the arguments are no JSON object, or have a name twice")
	}
	return v, nil
}

// first is the first detail, in the order of the token, that covers the arguments.
func (g governor) first(d Details, arguments value) (Detail, error) {
	seen, outside := 0, ""
	for _, o := range d.list {
		if o.typ != g.name {
			continue
		}
		field := g.outside(o, arguments)
		if field == "" {
			return o.detail(), nil
		}
		seen, outside = seen+1, field
	}
	switch seen {
	case 0:
		return Detail{}, notCovered(g, "the token has none")
	case 1:
		return Detail{}, notCovered(g, "the token's does not cover the argument for its field "+name(outside))
	}
	return Detail{}, notCovered(g, "none of the token's alone covers the arguments")
}

// outside is the first field of a detail that does not let its argument through, or empty.
func (g governor) outside(o object, arguments value) string {
	for _, b := range g.bounds {
		limit, ok := o.fields.member(b.field)
		if !ok {
			continue // unbounded there
		}
		argument, ok := arguments.at(b.argument)
		if !ok || !b.rule.admits(limit, argument) {
			return b.field
		}
	}
	return ""
}

// at follows a JSON pointer.
func (v value) at(pointer []string) (value, bool) {
	for _, part := range pointer {
		var ok bool
		switch v.kind {
		case kindObject:
			v, ok = v.member(part)
		case kindArray:
			var i int
			if i, ok = index(part); ok && i < len(v.items) {
				v = v.items[i]
			} else {
				ok = false
			}
		case kindNull, kindBoolean, kindNumber, kindString, kindUnreadable:
		}
		if !ok {
			return value{}, false
		}
	}
	return v, true
}

// index reads an array index (RFC 6901 §4): digits without a leading zero.
func index(part string) (int, bool) {
	i, err := strconv.ParseUint(part, 10, 31)
	if err != nil || strconv.FormatUint(i, 10) != part {
		return 0, false
	}
	return int(i), true
}
