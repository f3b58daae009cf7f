package rar

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/onbehalf/obo/jose"
)

// schemas compiles the JSON Schemas (2020-12) of types.
type schemas struct{ compiler *jsonschema.Compiler }

// nothing is a loader that loads nothing: a schema cannot make us open a file or a URL (JW13).
type nothing struct{}

func (nothing) Load(string) (any, error) {
	return nil, errors.New("a schema refers to nothing outside")
}

func newSchemas() schemas {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(nothing{})
	c.AssertFormat()
	return schemas{c}
}

// compile checks a type's schema and its narrowing rules, and closes the schema.
func (s schemas) compile(t Type, p *problems) *jsonschema.Schema {
	if len(t.Schema) > maxSchema {
		p.add("", "its schema has more than %d bytes", maxSchema)
		return nil
	}
	var doc value
	if err := jose.Decode(t.Schema, &doc); err != nil || doc.kind != kindObject || !doc.readable() {
		p.add("", "its schema is no JSON object, or one with a name twice, with more than %d levels or with huge numbers",
			jose.MaxDepth)
		return nil
	}
	root := doc.plain().(map[string]any)
	if keyword := forbidden(root); keyword != "" {
		p.add("", "its schema has %s: a schema refers to nothing, not to its own parts either, and costs what it says", keyword)
		return nil
	}
	if parts(doc) > maxParts {
		p.add("", "its schema has more than %d parts", maxParts)
		return nil
	}
	if root["type"] != "object" {
		p.add("", `its schema must have "type": "object"`)
		return nil
	}
	if required, _ := root["required"].([]any); slices.Contains(required, any("type")) {
		p.add("type", "it is reserved, and there always: leave it out of the schema")
	}
	closeObject(root, "", p)
	if len(p.list) == 0 {
		checkRules(root, t.Narrowing, p)
	}
	if len(p.list) > 0 {
		return nil
	}
	place := "urn:obo:authorization-details:" + fmt.Sprintf("%x", t.Name)
	if err := s.compiler.AddResource(place, root); err != nil {
		p.add("", "its schema is no JSON Schema")
		return nil
	}
	compiled, err := s.compiler.Compile(place)
	if err != nil {
		p.add("", "its schema is no JSON Schema of draft 2020-12: %s", oneLine(err.Error()))
		return nil
	}
	return compiled
}

// parts counts the objects in a schema, and so at least its schemas.
func parts(v value) int {
	n := 0
	if v.kind == kindObject {
		n = 1
	}
	for _, item := range v.items {
		n += parts(item)
	}
	for _, m := range v.members {
		n += parts(m.value)
	}
	return n
}

// closeObject refuses what is not of one type, and closes an object: a member that the schema does not name is never
// let in (RA2).
func closeObject(schema map[string]any, field string, p *problems) {
	if _, ok := schema["patternProperties"]; ok {
		p.add(field, "patternProperties is not allowed: every field has a name")
	}
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		p.add(field, "an object needs properties")
		return
	}
	if len(properties) > maxFields {
		p.add(field, "an object has at most %d fields", maxFields)
		return
	}
	for _, n := range slices.Sorted(maps.Keys(properties)) {
		path := n
		if field != "" {
			path = field + "." + n
		}
		switch {
		case !isName(n):
			p.add(path, "a name has 1 to %d printable ASCII characters, without quotes and backslashes", maxName)
		case path == "type":
			p.add(path, "it is reserved, and there always: leave it out of the schema")
		default:
			closeValue(properties[n], path, p)
		}
	}
	schema["additionalProperties"] = false
}

func closeValue(v any, field string, p *problems) {
	schema, _ := v.(map[string]any)
	switch schema["type"] {
	case "string", "integer", "number", "boolean":
	case "object":
		closeObject(schema, field, p)
	case "array":
		if _, ok := schema["prefixItems"]; ok {
			p.add(field, "prefixItems is not allowed: the items of an array are of one type")
			return
		}
		closeValue(schema["items"], field+"[]", p)
	default:
		p.add(field, "it needs a type, one of string, integer, number, boolean, array and object")
	}
}

// checkRules sees to it that every field has a rule that fits its type (RA4).
func checkRules(root map[string]any, rules map[string]Rule, p *problems) {
	properties, _ := root["properties"].(map[string]any)
	for _, n := range slices.Sorted(maps.Keys(properties)) {
		schema, _ := properties[n].(map[string]any)
		typ, _ := schema["type"].(string)
		rule, ok := rules[n]
		switch fitting := rule.types(); {
		case !ok:
			p.add(n, "it has no narrowing rule; there are equal, subset, at_most and prefix")
		case fitting == nil:
			p.add(n, "there is no narrowing rule %s; there are equal, subset, at_most and prefix", name(string(rule)))
		case !slices.Contains(fitting, typ):
			p.add(n, "the rule %s is for %s, not for %s", rule, strings.Join(fitting, " and "), typ)
		case n == "locations" && (rule != Subset || !isStrings(schema)): // RFC 9396 §2.2
			p.add(n, "it is where the details may be used: an array of strings under the rule subset")
		case rule == Subset && !isScalars(schema):
			p.add(n, "the rule subset is for an array of strings, integers, numbers or booleans")
		}
	}
	for _, n := range slices.Sorted(maps.Keys(rules)) {
		if _, ok := properties[n]; !ok {
			p.add(n, "it has a narrowing rule, and the schema does not have it")
		}
	}
}

func isStrings(array map[string]any) bool {
	items, _ := array["items"].(map[string]any)
	return items["type"] == "string"
}

func isScalars(array map[string]any) bool {
	items, _ := array["items"].(map[string]any)
	return items["type"] != "array" && items["type"] != "object"
}

// forbidden finds a keyword that would let a schema choose another dialect or document, compare each item with each other, or
// refer: a few references to references make a schema that is never done.
func forbidden(v any) string {
	switch x := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(x)) {
			if found := forbiddenAt(k, x[k]); found != "" {
				return found
			}
		}
	case []any:
		for _, item := range x {
			if found := forbidden(item); found != "" {
				return found
			}
		}
	}
	return ""
}

func forbiddenAt(keyword string, v any) string {
	switch keyword {
	case "$ref", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$defs", "definitions", "uniqueItems":
		return keyword
	case "$schema":
		if v != "https://json-schema.org/draft/2020-12/schema" {
			return keyword
		}
	case "enum", "const", "default", "examples":
		return ""
	case "properties", "patternProperties", "dependentSchemas": // the names in there are the author's
		named, _ := v.(map[string]any)
		for _, n := range slices.Sorted(maps.Keys(named)) {
			if found := forbidden(named[n]); found != "" {
				return found
			}
		}
		return ""
	}
	return forbidden(v)
}

// misfit says in which field a value does not fit its schema, and how: never the value.
func misfit(err error) (field, says string) {
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return "", "does not fit the schema"
	}
	leaf := deepest(invalid)
	return strings.Join(leaf.InstanceLocation, "."), explain(leaf)
}

// deepest is the failure furthest into the value; of several, the first by place.
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

func explain(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return "needs " + names(k.Missing)
	case *kind.AdditionalProperties:
		return "has no field " + names(k.Properties)
	case *kind.Type:
		return "must be " + strings.Join(k.Want, " or ") + ", not " + k.Got
	case *kind.Enum, *kind.Const:
		return "must be one of the values that the schema lists"
	case *kind.Minimum:
		return "must be at least " + plainNumber(k.Want)
	case *kind.Maximum:
		return "must be at most " + plainNumber(k.Want)
	case *kind.Format:
		return "must be a valid " + k.Want
	}
	if words := e.ErrorKind.KeywordPath(); len(words) > 0 {
		return "fails the schema's " + words[0]
	}
	return "does not fit the schema"
}

func names(of []string) string {
	out := make([]string, min(len(of), 5))
	for i := range out {
		out[i] = name(of[i])
	}
	return strings.Join(out, ", ")
}

// plainNumber writes a limit of a schema, to ten places.
func plainNumber(r *big.Rat) string {
	if r.IsInt() {
		return r.RatString()
	}
	return strings.TrimRight(r.FloatString(10), "0")
}
