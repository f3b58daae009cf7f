package connection

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// schema is a compiled JSON Schema (2020-12) and its text.
type schema struct {
	text     json.RawMessage
	compiled *jsonschema.Schema
}

// nothing is a loader that loads nothing: a schema cannot make us open a file or a URL.
type nothing struct{}

func (nothing) Load(url string) (any, error) {
	return nil, errors.New("a schema may refer only to itself")
}

// compileSchema compiles what YAML decoded.
func compileSchema(v any) (schema, error) {
	tree, err := jsonValue(v)
	if err != nil {
		return schema{}, err
	}
	doc, ok := tree.(map[string]any)
	if !ok {
		return schema{}, errors.New("must be a JSON Schema object")
	}
	if name := forbiddenKeyword(doc); name != "" {
		return schema{}, fmt.Errorf("%s is not allowed: it refers outside, or costs more than it says", name)
	}
	text, err := encodeJSON(doc)
	if err != nil {
		return schema{}, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(nothing{})
	c.AssertFormat()
	const place = "urn:obo:schema"
	if err := c.AddResource(place, doc); err != nil {
		return schema{}, errors.New("is no JSON Schema")
	}
	compiled, err := c.Compile(place)
	if err != nil {
		return schema{}, fmt.Errorf("is no JSON Schema of draft 2020-12: %s", oneLine(err.Error()))
	}
	return schema{text: text, compiled: compiled}, nil
}

// forbiddenKeyword finds a keyword that would let a schema choose another dialect or document, or compare each item with
// each other.
func forbiddenKeyword(v any) string {
	switch x := v.(type) {
	case map[string]any:
		for k, item := range x {
			if k == "properties" || k == "$defs" || k == "patternProperties" || k == "dependentSchemas" {
				if named, ok := item.(map[string]any); ok { // names here are the author's, not keywords
					for _, sub := range named {
						if found := forbiddenKeyword(sub); found != "" {
							return found
						}
					}
					continue
				}
			}
			switch k {
			case "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "uniqueItems":
				return k
			case "$schema":
				if item != "https://json-schema.org/draft/2020-12/schema" {
					return k
				}
			case "enum", "const", "default", "examples":
				continue
			}
			if found := forbiddenKeyword(item); found != "" {
				return found
			}
		}
	case []any:
		for _, item := range x {
			if found := forbiddenKeyword(item); found != "" {
				return found
			}
		}
	}
	return ""
}

// check validates a value of parseJSON. The error is an *ArgumentError of the deepest, first place.
func (s schema) check(v any) error {
	err := s.compiled.Validate(v)
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return argumentError("", "does not fit the schema")
	}
	leaf := deepest(invalid)
	return argumentError(pointer(leaf.InstanceLocation), explain(leaf))
}

// deepest finds the failure that says most: the one furthest into the value, the first of those in place order.
func deepest(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return e
	}
	var best *jsonschema.ValidationError
	for _, c := range e.Causes {
		leaf := deepest(c)
		if best == nil || len(leaf.InstanceLocation) > len(best.InstanceLocation) ||
			len(leaf.InstanceLocation) == len(best.InstanceLocation) &&
				slices.Compare(leaf.InstanceLocation, best.InstanceLocation) < 0 {
			best = leaf
		}
	}
	return best
}

func pointer(parts []string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(p, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

func oneLine(s string) string {
	return cut(strings.Join(strings.Fields(s), " "), 300)
}

// explain says what a value fails, without the value: it may be private, and the path already says where it is.
func explain(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return "needs " + quoteAll(k.Missing)
	case *kind.AdditionalProperties:
		return "does not take " + quoteAll(k.Properties)
	case *kind.Type:
		return "must be " + strings.Join(k.Want, " or ") + ", not " + k.Got
	case *kind.Enum:
		return "must be one of the values that the schema lists"
	case *kind.Pattern:
		return fmt.Sprintf("must match %q", cut(k.Want, 100))
	case *kind.Format:
		return "must be a valid " + k.Want
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters", k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d items", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d items", k.Want)
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	}
	if words := e.ErrorKind.KeywordPath(); len(words) > 0 {
		return "fails the schema's " + words[0]
	}
	return "does not fit the schema"
}

func quoteAll(names []string) string {
	out := make([]string, min(len(names), 5))
	for i := range out {
		out[i] = fmt.Sprintf("%q", cut(names[i], 64))
	}
	return strings.Join(out, ", ")
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}
