package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxArguments is how many bytes of arguments Call reads; more is refused.
const MaxArguments = 1 << 20

// maxElements bounds an array, because a set compares its elements with each other.
const maxElements = 1000

// shape is what policy sees of one value of a tool's arguments.
type shape struct {
	kind    shapeKind
	why     string            // of shapeHidden: why policy does not see it
	element *shape            // of shapeSet
	fields  map[string]*field // of shapeRecord
	open    bool              // of shapeRecord: members that are not in fields may come, and are not seen
}

type field struct {
	shape    *shape
	required bool
}

type shapeKind byte

const (
	shapeHidden shapeKind = iota
	shapeString
	shapeLong
	shapeDecimal
	shapeBool
	shapeSet
	shapeRecord
)

// argumentError says which argument does not fit. It quotes the names of arguments, never their values.
type argumentError struct {
	path string
	says string
}

func (e *argumentError) Error() string {
	if e.path == "" {
		return "the arguments: " + e.says
	}
	return fmt.Sprintf("argument %q: %s", clip(e.path), e.says)
}

// within moves an error one level up.
func within(name string, err error) error {
	var a *argumentError
	if !errors.As(err, &a) {
		return err
	}
	if a.path != "" {
		name += "." + a.path
	}
	return &argumentError{name, a.says}
}

func notThe(kind string) error { return &argumentError{says: "not " + kind} }

// readArguments makes the `args` of a request of a call's arguments. It reads strictly (no duplicate names, valid UTF-8), for
// what policy judges must be what the provider gets.
func (s *shape) readArguments(arguments []byte) (types.Record, error) {
	if len(arguments) == 0 {
		arguments = []byte("{}")
	}
	if len(arguments) > MaxArguments {
		return types.Record{}, &argumentError{says: fmt.Sprintf("more than %d bytes", MaxArguments)}
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(arguments))
	v, err := s.read(d)
	if err == nil {
		if _, end := d.ReadToken(); !errors.Is(end, io.EOF) {
			err = notThe("one JSON object")
		}
	}
	if err != nil {
		var a *argumentError
		if !errors.As(err, &a) {
			err = notThe("JSON: names may come once, and text is UTF-8")
		}
		return types.Record{}, err
	}
	return v.(types.Record), nil
}

// read reads one value. The value of a hidden shape is passed over, and is nil.
func (s *shape) read(d *jsontext.Decoder) (types.Value, error) {
	switch s.kind {
	case shapeHidden:
		return nil, d.SkipValue()
	case shapeSet:
		return s.readSet(d)
	case shapeRecord:
		return s.readRecord(d)
	case shapeString:
		if d.PeekKind() != '"' {
			return nil, mismatch(d, "a string")
		}
		t, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		return types.String(t.String()), nil
	case shapeBool:
		if k := d.PeekKind(); k != 't' && k != 'f' {
			return nil, mismatch(d, "true or false")
		}
		t, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		return types.Boolean(t.Bool()), nil
	case shapeLong, shapeDecimal:
	}
	return s.readNumber(d)
}

func (s *shape) readNumber(d *jsontext.Decoder) (types.Value, error) {
	if d.PeekKind() != '0' {
		return nil, mismatch(d, "a number")
	}
	text, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	if s.kind == shapeLong {
		n, err := scaled(string(text), 0)
		switch {
		case errors.Is(err, errPlaces):
			return nil, notThe("an integer")
		case err != nil:
			return nil, &argumentError{says: err.Error()}
		}
		return types.Long(n), nil
	}
	n, err := scaled(string(text), 4)
	if errors.Is(err, errPlaces) {
		return nil, &argumentError{says: "more than four decimal places, which policy cannot see"}
	}
	if err != nil {
		return nil, &argumentError{says: err.Error()}
	}
	v, err := types.NewDecimal(n, -4)
	if err != nil {
		return nil, &argumentError{says: errRange.Error()}
	}
	return v, nil
}

func (s *shape) readSet(d *jsontext.Decoder) (types.Value, error) {
	if d.PeekKind() != '[' {
		return nil, mismatch(d, "an array")
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	var values []types.Value
	for d.PeekKind() != ']' {
		if len(values) == maxElements {
			return nil, &argumentError{says: fmt.Sprintf("more than %d elements", maxElements)}
		}
		v, err := s.element.read(d)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	return types.NewSet(values...), nil
}

func (s *shape) readRecord(d *jsontext.Decoder) (types.Value, error) {
	if d.PeekKind() != '{' {
		return nil, mismatch(d, "an object")
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	values := make(types.RecordMap, len(s.fields))
	for d.PeekKind() != '}' {
		t, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := t.String()
		f, ok := s.fields[name]
		if !ok {
			if !s.open {
				return nil, within(name, &argumentError{says: "the tool declares no such argument"})
			}
			if err := d.SkipValue(); err != nil {
				return nil, err
			}
			continue
		}
		v, err := f.shape.read(d)
		if err != nil {
			return nil, within(name, err)
		}
		if v != nil {
			values[types.String(name)] = v
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	if name := s.missing(values); name != "" {
		return nil, within(name, &argumentError{says: "missing"})
	}
	return types.NewRecord(values), nil
}

// missing is a required member that did not come, the first by name.
func (s *shape) missing(values types.RecordMap) string {
	var absent []string
	for name, f := range s.fields {
		if _, ok := values[types.String(name)]; f.required && !ok && f.shape.kind != shapeHidden {
			absent = append(absent, name)
		}
	}
	if len(absent) == 0 {
		return ""
	}
	return slices.Min(absent)
}

// mismatch tells a value of another kind from text that is no JSON at all.
func mismatch(d *jsontext.Decoder, kind string) error {
	if err := d.SkipValue(); err != nil {
		return err
	}
	return notThe(kind)
}
