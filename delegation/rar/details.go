package rar

import (
	"fmt"
	"slices"
)

// Details are authorization_details that were read by an org's types. Only Parse and its methods make one; the zero Details
// is none. They never change.
type Details struct {
	types Types
	list  []object
}

// Detail is one object of authorization_details.
type Detail struct {
	Type string
	JSON []byte // the object, as it stands in the token
}

// object is one detail, ready to be compared.
type object struct {
	typ    string
	fields value  // an object, without "type"
	json   string // canonical, with "type" first
}

func newObject(typ string, fields value) object {
	b := quote([]byte(`{"type":`), typ)
	if inner := fields.append(nil); len(fields.members) > 0 {
		b = append(append(b, ','), inner[1:]...)
	} else {
		b = append(b, '}')
	}
	return object{typ, fields, string(b)}
}

func (o object) detail() Detail { return Detail{o.typ, []byte(o.json)} }

// Empty reports whether there is none.
func (d Details) Empty() bool { return len(d.list) == 0 }

// Types are those that the details were read by.
func (d Details) Types() Types { return d.types }

// List are the details, in their order.
func (d Details) List() []Detail {
	out := make([]Detail, len(d.list))
	for i, o := range d.list {
		out[i] = o.detail()
	}
	return out
}

// JSON is the array in its canonical form, as tokens carry it: no white space, "type" first, the other names sorted, numbers in
// their one spelling, and arrays under the rule subset in order without repetition. It is nil when there is none.
func (d Details) JSON() []byte {
	if d.Empty() {
		return nil
	}
	b := []byte{'['}
	for i, o := range d.list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, o.json...)
	}
	return append(b, ']')
}

// Keep is d without the details that a predicate does not want.
func (d Details) Keep(wanted func(Detail) bool) Details {
	return d.keep(func(o object) bool { return wanted(o.detail()) })
}

func (d Details) keep(wanted func(object) bool) Details {
	out := Details{types: d.types}
	for _, o := range d.list {
		if wanted(o) {
			out.list = append(out.list, o)
		}
	}
	return out
}

// At is d as a token for one resource carries it: without the details whose "locations" do not name the resource (RA6).
func (d Details) At(resource string) Details {
	return d.keep(func(o object) bool {
		locations, ok := o.fields.member("locations")
		return !ok || !locations.lacks(value{kind: kindString, text: resource})
	})
}

// Within reports whether every detail is within one of the parent's (RA3, RA4): of the same type, with every field that the
// parent's has, each within it by the field's rule. Two of the parent's are never taken together. An error wraps ErrWider and
// names the detail.
func (d Details) Within(parent Details) error {
	for i, o := range d.list {
		inside := func(wide object) bool { return d.types.byName[o.typ].widerField(o, wide) == "" }
		if slices.ContainsFunc(parent.list, inside) {
			continue
		}
		return fmt.Errorf("%w: object %d, type %s%s", ErrWider, i+1, name(o.typ), d.hint(o, parent))
	}
	return nil
}

// anotherType is where an object is not within one of another type: no field is named so.
const anotherType = "type"

// widerField is the first field in which an object is not within a wider one, or empty.
func (d *definition) widerField(narrow, wide object) string {
	if narrow.typ != wide.typ {
		return anotherType
	}
	for _, bound := range wide.fields.members {
		v, ok := narrow.fields.member(bound.name)
		if !ok || !d.rules[bound.name].within(v, bound.value) {
			return bound.name
		}
	}
	return ""
}

// hint names the field when there is one detail alone that the object could be within.
func (d Details) hint(o object, parent Details) string {
	same := parent.keep(func(p object) bool { return p.typ == o.typ })
	switch len(same.list) {
	case 0:
		return ": the parent has none of that type"
	case 1:
		return ", field " + name(d.types.byName[o.typ].widerField(o, same.list[0]))
	}
	return ": no one of the parent's has it within"
}
