package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/onbehalf/obo/jose"
)

// Limits of a tool's JSON Schema.
const (
	maxToolSchema = 64 << 10 // bytes
	maxProperties = 256      // of one object
	maxShapeDepth = 8
)

// toolSchema is the part of JSON Schema that gives a value one type. The rest only narrows it further, and is checked by who
// makes the call.
type toolSchema struct {
	Type                 json.RawMessage            `json:"type"`
	Enum                 []json.RawMessage          `json:"enum"`
	Properties           map[string]json.RawMessage `json:"properties"`
	PatternProperties    json.RawMessage            `json:"patternProperties"`
	AdditionalProperties json.RawMessage            `json:"additionalProperties"`
	Required             []string                   `json:"required"`
	Items                json.RawMessage            `json:"items"`
	PrefixItems          json.RawMessage            `json:"prefixItems"`
}

// parseArguments reads the JSON Schema of a tool's arguments, which are an object.
func parseArguments(schema json.RawMessage) (*shape, error) {
	if len(schema) == 0 {
		return &shape{kind: shapeRecord}, nil
	}
	if len(schema) > maxToolSchema {
		return nil, fmt.Errorf("the schema of its arguments has more than %d bytes", maxToolSchema)
	}
	var s toolSchema
	if err := jose.Decode(schema, &s); err != nil {
		return nil, fmt.Errorf("the schema of its arguments: %w", err)
	}
	if t := s.singleType(); t != "object" && t != "" {
		return nil, fmt.Errorf("its arguments are of type %q; they must be an object", t)
	}
	root, err := s.record(0)
	if err != nil {
		return nil, err
	}
	if root.kind == shapeHidden { // free-form: any arguments may come, and policy sees none
		return &shape{kind: shapeRecord, open: true, why: root.why}, nil
	}
	return root, nil
}

func hidden(why string) *shape { return &shape{kind: shapeHidden, why: why} }

func parseShape(schema json.RawMessage, depth int) (*shape, error) {
	if string(schema) == "true" || len(schema) == 0 {
		return hidden("free-form"), nil
	}
	if depth > maxShapeDepth {
		return hidden("nested too deep"), nil
	}
	var s toolSchema
	if err := jose.Decode(schema, &s); err != nil {
		return nil, err
	}
	switch s.singleType() {
	case "string":
		return &shape{kind: shapeString}, nil
	case "integer":
		return &shape{kind: shapeLong}, nil
	case "number":
		return &shape{kind: shapeDecimal}, nil
	case "boolean":
		return &shape{kind: shapeBool}, nil
	case "array":
		return s.set(depth)
	case "object":
		return s.record(depth)
	}
	return hidden("a union, or without a type"), nil
}

// singleType is the one type that a value has, or empty.
func (s toolSchema) singleType() string {
	var one string
	var many []string
	switch {
	case len(s.Type) > 0 && json.Unmarshal(s.Type, &one) == nil:
		return cmp.Or(one, "none")
	case len(s.Type) > 0 && json.Unmarshal(s.Type, &many) == nil && len(many) == 1:
		return cmp.Or(many[0], "none")
	case len(s.Type) > 0:
		return ""
	}
	for _, v := range s.Enum {
		if json.Unmarshal(v, &one) != nil {
			return ""
		}
	}
	if len(s.Enum) > 0 {
		return "string"
	}
	return ""
}

func (s toolSchema) set(depth int) (*shape, error) {
	if len(s.PrefixItems) > 0 {
		return hidden("an array whose elements have types by place"), nil
	}
	element, err := parseShape(s.Items, depth+1)
	if err != nil {
		return nil, err
	}
	if element.kind == shapeHidden {
		return hidden("an array of what is " + element.why), nil
	}
	return &shape{kind: shapeSet, element: element}, nil
}

func (s toolSchema) record(depth int) (*shape, error) {
	open := len(s.PatternProperties) > 0 || (len(s.AdditionalProperties) > 0 && string(s.AdditionalProperties) != "false")
	if len(s.Properties) == 0 && string(s.AdditionalProperties) != "false" {
		return hidden("a free-form object"), nil
	}
	if len(s.Properties) > maxProperties {
		return nil, fmt.Errorf("an object has more than %d properties", maxProperties)
	}
	out := &shape{kind: shapeRecord, fields: make(map[string]*field, len(s.Properties)), open: open}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if !isName(name) {
			out.fields[name] = &field{shape: hidden("of a name that policy cannot write")}
			continue
		}
		inner, err := parseShape(s.Properties[name], depth+1)
		if err != nil {
			return nil, fmt.Errorf("argument %q: %w", clip(name), err)
		}
		out.fields[name] = &field{shape: inner, required: slices.Contains(s.Required, name)}
	}
	return out, nil
}

// isName reports whether a name can stand between quotes in schema and policies as it is.
func isName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
