package rar

import (
	"fmt"
	"slices"

	"github.com/onbehalf/obo/jose"
)

// Limits of authorization_details, which travel in a token.
const (
	MaxSize  = 4 << 10 // bytes of the whole array, as it comes and as it is written
	MaxCount = 16      // objects

	maxValues = 256 // in all: each is held against each part of a schema
)

// Parse reads authorization_details: an array of objects, each of a registered type (RA1) and as the type's schema wants
// it (RA2). It reads strictly: exact names, no name twice, no member that the schema does not have. An error wraps ErrDetails
// and names type and field.
func (t Types) Parse(raw []byte) (Details, error) {
	if len(raw) > MaxSize {
		return Details{}, fmt.Errorf("%w: more than %d bytes", ErrDetails, MaxSize)
	}
	var array value
	if err := jose.Decode(raw, &array); err != nil {
		return Details{}, fmt.Errorf("%w: no JSON, not UTF-8, or a name twice in one object", ErrDetails)
	}
	if array.kind != kindArray || len(array.items) == 0 || len(array.items) > MaxCount {
		return Details{}, fmt.Errorf("%w: not an array of 1 to %d objects", ErrDetails, MaxCount)
	}
	if array.size() > maxValues {
		return Details{}, fmt.Errorf("%w: more than %d values in all", ErrDetails, maxValues)
	}
	d := Details{types: t, list: make([]object, len(array.items))}
	size := 1
	for i, item := range array.items {
		o, err := t.object(item)
		if err != nil {
			return Details{}, fmt.Errorf("%w: object %d%w", ErrDetails, i+1, err)
		}
		d.list[i] = o
		size += len(o.json) + 1
	}
	if size > MaxSize {
		return Details{}, fmt.Errorf("%w: more than %d bytes", ErrDetails, MaxSize)
	}
	return d, nil
}

// objectError is what is wrong with one object: `, type "payment", field "amount": must be number, not string`.
type objectError struct{ typ, field, says string }

func (e *objectError) Error() string {
	var where string
	if e.typ != "" {
		where += ", type " + name(e.typ)
	}
	if e.field != "" {
		where += ", field " + name(e.field)
	}
	return where + ": " + e.says
}

// object reads one object, and gives it the form that it is judged and carried in.
func (t Types) object(v value) (object, error) {
	typ, _ := v.member("type")
	switch {
	case v.kind != kindObject:
		return object{}, &objectError{says: "not an object"}
	case typ.kind != kindString:
		return object{}, &objectError{says: `it needs a "type", which is a string`}
	}
	d := t.byName[typ.text]
	if d == nil {
		return object{}, &objectError{typ: typ.text, says: "there is no such type"}
	}
	if !v.readable() {
		return object{}, &objectError{typ: d.name, says: "it has " + errNumber.Error()}
	}
	fields := slices.DeleteFunc(v.members, func(m member) bool { return m.name == "type" })
	for i, m := range fields {
		fields[i].value = d.rules[m.name].canonical(m.value)
	}
	inner := value{kind: kindObject, members: fields}
	if err := d.schema.Validate(inner.plain()); err != nil {
		field, says := misfit(err)
		return object{}, &objectError{typ: d.name, field: field, says: says}
	}
	return newObject(d.name, inner), nil
}
