// Package rar is Rich Authorization Requests (RFC 9396) with narrowing: what an org's types of authorization_details are, when
// one set of details is within another, and when a detail covers the arguments of a call.
//
// Details grant rights, as scopes do. Rights of two objects are not joined: one object alone must cover what is asked for
// (RFC 9396 §6.1, RA4). A tool that a type covers can be called with a detail of that type only, so leaving a detail out of a
// narrower token takes a right away and never adds one.
package rar

import (
	"encoding/json"
	"errors"
)

// Rule says when a field's value is within another.
type Rule string

// The rules. A field that the wider detail does not have is unbounded there; one that only the wider has is inherited by no
// rule: the narrower must have it too. Of arguments, no empty array is in a set, and no path with ".." in a folder.
const (
	Equal  Rule = "equal"   // the same JSON value
	Subset Rule = "subset"  // an array, each element of which the wider has; as an argument also one element
	AtMost Rule = "at_most" // a number, not greater
	Prefix Rule = "prefix"  // a string that begins with the wider's: "a/b" has "a/bc" within, so end a folder with "a/b/"
)

// Type is a registered type of authorization_details. It is closed: a field that the schema does not have is refused, whether or
// not the schema says so (RA2), and each field has a rule.
type Type struct {
	Name        string          `json:"type" yaml:"type"`                                   // the value of "type"
	Description string          `json:"description,omitempty" yaml:"description,omitempty"` // for people
	Schema      json.RawMessage `json:"schema" yaml:"-"`                                    // JSON Schema of the fields, without "type"
	Narrowing   map[string]Rule `json:"narrowing" yaml:"narrowing"`                         // for each field of the schema
	Covers      []Cover         `json:"covers,omitempty" yaml:"covers,omitempty"`           // the tools that need a detail of it
}

// Cover says how a detail bounds the arguments of a tool.
type Cover struct {
	Tool      string            `json:"tool" yaml:"tool"`           // "github.create_issue"
	Arguments map[string]string `json:"arguments" yaml:"arguments"` // field of the detail to JSON pointer (RFC 6901) into the arguments
}

// The sentinels. Compare with errors.Is.
var (
	// ErrDetails: not an array of objects of registered types, or an object that its type's schema refuses (RA1, RA2). The text
	// behind it is safe to show: it has the names of types and fields, and no value.
	ErrDetails = errors.New("rar: invalid authorization_details")
	// ErrWider: a detail is not within any of the parent's (RA3).
	ErrWider = errors.New("rar: wider than the parent")
	// ErrNotCovered: no one detail covers the call.
	ErrNotCovered = errors.New("rar: no detail covers the call")
)
