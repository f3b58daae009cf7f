package rar

import "fmt"

// Parse reads authorization_details.
func (t Types) Parse(raw []byte) (Details, error) {
	return Details{}, fmt.Errorf("%w: %d bytes", ErrDetails, len(raw))
}

// Within reports whether every detail is within one of the parent's.
func (d Details) Within(Details) error { return ErrWider }

// At keeps what is meant for a resource.
func (d Details) At(string) Details { return d }

// Keep keeps the details that a predicate wants.
func (d Details) Keep(func(Detail) bool) Details { return d }

// JSON is the canonical array; nil when there is none.
func (d Details) JSON() []byte { return nil }

// Empty reports whether there is no detail.
func (d Details) Empty() bool { return len(d.list) == 0 }

// List are the details.
func (d Details) List() []Detail { return d.list }

// Types are the types that the details were read by.
func (d Details) Types() Types { return d.types }

// Cover finds the details that cover a call.
func (t Types) Cover(_ []byte, _ string, _ []byte) (map[string]Detail, error) { return nil, ErrNotCovered }

// Compile checks types.
func Compile([]Type) (Types, error) { return Types{}, nil }

// Names are sorted.
func (t Types) Names() []string { return nil }

// Has reports whether there is such a type.
func (t Types) Has(name string) bool { return t.byName[name] != nil }

// Governs reports whether a type covers the tool.
func (t Types) Governs(string) bool { return false }
