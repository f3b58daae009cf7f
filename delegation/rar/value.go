package rar

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// value is a JSON value that was read strictly. Equal values have one canonical text; strings are compared byte for byte,
// without any normalisation (RA8).
type value struct {
	kind    jsonKind
	text    string  // of a string, its characters; of a null, a boolean and a number, its canonical JSON
	number  decimal // of a number
	items   []value
	members []member // in the order of their names
}

type member struct {
	name  string
	value value
}

type jsonKind byte

const (
	kindNull jsonKind = iota
	kindBoolean
	kindNumber
	kindString
	kindArray
	kindObject
	kindUnreadable // a number beyond what can be compared; no detail has one
)

// UnmarshalJSONFrom implements json.UnmarshalerFrom. Decoded by package jose, names come once and text is UTF-8.
func (v *value) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case '[':
		return v.readArray(d)
	case '{':
		return v.readObject(d)
	case '0':
		return v.readNumber(d)
	}
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	switch t.Kind() {
	case '"':
		*v = value{kind: kindString, text: t.String()}
	case 't', 'f':
		*v = value{kind: kindBoolean, text: t.String()}
	case 'n':
		*v = value{kind: kindNull, text: "null"}
	}
	return nil
}

func (v *value) readNumber(d *jsontext.Decoder) error {
	text, err := d.ReadValue()
	if err != nil {
		return err
	}
	*v = value{kind: kindUnreadable}
	if n, err := parseDecimal(string(text)); err == nil {
		*v = value{kind: kindNumber, text: n.String(), number: n}
	}
	return nil
}

func (v *value) readArray(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	*v = value{kind: kindArray}
	for d.PeekKind() != ']' {
		var item value
		if err := item.UnmarshalJSONFrom(d); err != nil {
			return err
		}
		v.items = append(v.items, item)
	}
	_, err := d.ReadToken()
	return err
}

func (v *value) readObject(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	*v = value{kind: kindObject}
	for d.PeekKind() != '}' {
		t, err := d.ReadToken()
		if err != nil {
			return err
		}
		m := member{name: t.String()}
		if err := m.value.UnmarshalJSONFrom(d); err != nil {
			return err
		}
		v.members = append(v.members, m)
	}
	slices.SortFunc(v.members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	_, err := d.ReadToken()
	return err
}

// member is a member of an object, by its exact name.
func (v value) member(name string) (value, bool) {
	i, ok := slices.BinarySearchFunc(v.members, name, func(m member, name string) int { return cmp.Compare(m.name, name) })
	if !ok {
		return value{}, false
	}
	return v.members[i].value, true
}

// compare orders values, and is 0 for equal ones alone. Of a detail all is readable, so what is not is equal to nothing in it.
func (v value) compare(o value) int {
	return cmp.Or(cmp.Compare(v.kind, o.kind), cmp.Compare(v.text, o.text),
		slices.CompareFunc(v.items, o.items, value.compare),
		slices.CompareFunc(v.members, o.members, func(a, b member) int {
			return cmp.Or(cmp.Compare(a.name, b.name), a.value.compare(b.value))
		}))
}

// readable reports whether every number in v can be compared.
func (v value) readable() bool {
	return v.kind != kindUnreadable && !slices.ContainsFunc(v.items, func(i value) bool { return !i.readable() }) &&
		!slices.ContainsFunc(v.members, func(m member) bool { return !m.value.readable() })
}

// size is how many values there are in v, itself too.
func (v value) size() int {
	n := 1
	for _, item := range v.items {
		n += item.size()
	}
	for _, m := range v.members {
		n += m.value.size()
	}
	return n
}

// append adds the canonical JSON.
func (v value) append(b []byte) []byte {
	switch v.kind {
	case kindString:
		return quote(b, v.text)
	case kindArray:
		b = append(b, '[')
		for i, item := range v.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.append(b)
		}
		return append(b, ']')
	case kindObject:
		b = append(b, '{')
		for i, m := range v.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = m.value.append(append(quote(b, m.name), ':'))
		}
		return append(b, '}')
	case kindNull, kindBoolean, kindNumber, kindUnreadable:
	}
	return append(b, v.text...)
}

// quote writes text. The decoder let it through, so it is UTF-8 and there is no error.
func quote(b []byte, text string) []byte {
	b, _ = jsontext.AppendQuote(b, text)
	return b
}

// plain is the value as the JSON Schema library takes it: numbers as json.Number, which it reads exactly.
func (v value) plain() any {
	switch v.kind {
	case kindString:
		return v.text
	case kindBoolean:
		return v.text == "true"
	case kindNumber:
		return json.Number(v.text)
	case kindArray:
		out := make([]any, len(v.items))
		for i, item := range v.items {
			out[i] = item.plain()
		}
		return out
	case kindObject:
		out := make(map[string]any, len(v.members))
		for _, m := range v.members {
			out[m.name] = m.value.plain()
		}
		return out
	case kindNull, kindUnreadable:
	}
	return nil
}
