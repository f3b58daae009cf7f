package rar

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestCompile: RA2, RA4. A type is closed, and each field has a rule that fits it; what is wrong names type and field.
func TestCompile(t *testing.T) {
	t.Parallel()
	fields := func(properties string, rules map[string]Rule) func(*Type) {
		return func(t *Type) {
			t.Schema, t.Narrowing, t.Covers = json.RawMessage(`{"type":"object","properties":{`+properties+`}}`), rules, nil
		}
	}
	schema := func(text string) func(*Type) {
		return func(t *Type) {
			t.Schema, t.Narrowing, t.Covers = json.RawMessage(text), map[string]Rule{"a": Equal}, nil
		}
	}
	covers := func(tool, field, pointer string) func(*Type) {
		return func(t *Type) { t.Covers = []Cover{{Tool: tool, Arguments: map[string]string{field: pointer}}} }
	}
	many := func(n int) string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf(`"f%d":{"type":"string"}`, i))
		}
		return strings.Join(out, ",")
	}
	for _, test := range []struct {
		name   string
		change func(*Type)
		want   string
	}{
		{"no name", func(t *Type) { t.Name = "" }, `type "": a name has 1 to 128`},
		{"a name with quotes", func(t *Type) { t.Name = `a"b` }, `type "a\"b": a name has`},
		{"a name with a space", func(t *Type) { t.Name = "a b" }, `a name has`},
		{"a long name", func(t *Type) { t.Name = strings.Repeat("x", 129) }, `a name has`},
		{"a long description", func(t *Type) { t.Description = strings.Repeat("x", 1025) }, `description`},
		{"no schema", schema(``), "no JSON object"},
		{"a schema that is no object", schema(`true`), "no JSON object"},
		{"a schema with a name twice", schema(`{"type":"object","type":"object"}`), "a name twice"},
		{"a schema with a huge number", schema(`{"type":"object","properties":{"a":{"type":"number","maximum":1e99999}}}`), "huge numbers"},
		{"a large schema", schema(`{"type":"object","properties":{}}` + strings.Repeat(" ", maxSchema)), "16384 bytes"},
		{"a deep schema", schema(strings.Repeat(`{"type":"object","properties":{"a":`, 20) + `{}` + strings.Repeat(`}}`, 20)), "32 levels"},
		{"a schema of many parts", schema(`{"type":"object","properties":{"a":{"type":"number","allOf":[` +
			strings.Repeat(`{"minimum":0},`, 200) + `{}]}}}`), "more than 200 parts"},
		{"not of an object", schema(`{"type":"array"}`), `must have "type": "object"`},
		{"of an object or not", schema(`{"type":["object","null"]}`), `must have "type": "object"`},
		{"no properties", schema(`{"type":"object"}`), "needs properties"},
		{"a remote reference", schema(`{"type":"object","properties":{"a":{"$ref":"https://evil.example/x"}}}`), "$ref"},
		{"a file", schema(`{"type":"object","properties":{"a":{"$ref":"file:///etc/passwd"}}}`), "$ref"},
		{"references to references", schema(`{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{}}`), "its schema has $defs"},
		{"a reference inside", schema(`{"type":"object","properties":{"a":{"type":"string","anyOf":[{"not":{"$dynamicRef":"#"}}]}}}`), "$dynamicRef"},
		{"another dialect", schema(`{"$schema":"http://json-schema.org/draft-04/schema#","type":"object","properties":{}}`), "$schema"},
		{"an identity", schema(`{"$id":"https://x.example","type":"object","properties":{}}`), "$id"},
		{"the square of its items", schema(`{"type":"object","properties":{"a":{"type":"array","uniqueItems":true,"items":{"type":"string"}}}}`), "uniqueItems"},
		{"names by pattern", schema(`{"type":"object","properties":{"a":{"type":"string"}},"patternProperties":{"^b":{"type":"string"}}}`), "patternProperties"},
		{"no JSON Schema", schema(`{"type":"object","properties":{"a":{"type":"string","minLength":"x"}}}`), "draft 2020-12"},
		{"type is reserved", fields(`"type":{"type":"string"}`, map[string]Rule{"type": Equal}), `field "type": it is reserved`},
		{"type is reserved in required", func(t *Type) { t.Schema = json.RawMessage(strings.Replace(bountySchema, `["amount"]`, `["type"]`, 1)) }, `field "type": it is reserved`},
		{"too many fields", fields(many(33), nil), "at most 32 fields"},
		{"a field with quotes", fields(`"a\"b":{"type":"string"}`, map[string]Rule{`a"b`: Equal}), `field "a\"b"`},
		{"RA4 a field without a rule", fields(`"a":{"type":"string"}`, nil), `field "a": it has no narrowing rule`},
		{"RA4 a rule without a field", fields(`"a":{"type":"string"}`, map[string]Rule{"a": Equal, "b": Equal}), `field "b": it has a narrowing rule`},
		{"RA4 no such rule", fields(`"a":{"type":"string"}`, map[string]Rule{"a": "at-most"}), `field "a": there is no narrowing rule "at-most"`},
		{"RA4 at_most of a string", fields(`"a":{"type":"string"}`, map[string]Rule{"a": AtMost}), `field "a": the rule at_most is for integer and number, not for string`},
		{"RA4 prefix of a number", fields(`"a":{"type":"number"}`, map[string]Rule{"a": Prefix}), `the rule prefix is for string`},
		{"RA4 subset of a string", fields(`"a":{"type":"string"}`, map[string]Rule{"a": Subset}), `the rule subset is for array`},
		{"RA4 subset of objects", fields(`"a":{"type":"array","items":{"type":"object","properties":{}}}`, map[string]Rule{"a": Subset}), `the rule subset is for an array of`},
		{"RA6 locations that are one", fields(`"locations":{"type":"string"}`, map[string]Rule{"locations": Equal}), `field "locations": it is where`},
		{"RA6 locations that are numbers", fields(`"locations":{"type":"array","items":{"type":"number"}}`, map[string]Rule{"locations": Subset}), `field "locations": it is where`},
		{"RA2 a field of no type", fields(`"a":{}`, map[string]Rule{"a": Equal}), `field "a": it needs a type`},
		{"RA2 a field of any type", fields(`"a":true`, map[string]Rule{"a": Equal}), `field "a": it needs a type`},
		{"RA2 a field of two types", fields(`"a":{"type":["string","null"]}`, map[string]Rule{"a": Equal}), `field "a": it needs a type`},
		{"RA2 an array of anything", fields(`"a":{"type":"array"}`, map[string]Rule{"a": Equal}), `field "a[]": it needs a type`},
		{"RA2 an array by place", fields(`"a":{"type":"array","prefixItems":[{"type":"string"}]}`, map[string]Rule{"a": Equal}), `prefixItems`},
		{"RA2 an object of anything", fields(`"a":{"type":"object"}`, map[string]Rule{"a": Equal}), `field "a": an object needs properties`},
		{"RA2 a field of no type, inside", fields(`"a":{"type":"object","properties":{"b":{}}}`, map[string]Rule{"a": Equal}), `field "a.b": it needs a type`},
		{"no tool", covers("", "amount", "/a"), "no name of a tool"},
		{"a tool twice", func(t *Type) { t.Covers = append(t.Covers, t.Covers[0]) }, `covers tool "payments.pay" twice`},
		{"a cover by no field", covers("x", "amont", "/a"), `field "amont": tool "x" is covered by it`},
		{"a cover by the type", covers("x", "type", "/a"), `field "type"`},
		{"no pointer", covers("x", "amount", "amount"), "JSON pointer"},
		{"a pointer to everything", covers("x", "amount", ""), "JSON pointer"},
		{"a bad escape", covers("x", "amount", "/a~2"), "a ~ is written ~0"},
		{"too many tools", func(t *Type) { t.Covers = make([]Cover, 65) }, "at most 64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			typ := bounty()
			test.change(&typ)
			types, err := Compile([]Type{read(), typ})
			invalid, ok := errors.AsType[*InvalidError](err)
			if !ok || len(types.Names()) > 0 {
				t.Fatalf("compiled: %v", err)
			}
			if !strings.Contains(err.Error(), test.want) || len(err.Error()) > 1000 {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if strings.Contains(test.want, `field "`) && invalid.Problems[0].Field == "" {
				t.Errorf("no field: %+v", invalid.Problems)
			}
		})
	}
}

// TestTypes is what is right: limits that are just kept, every problem of every type, and the names.
func TestTypes(t *testing.T) {
	t.Parallel()
	types := standard(t)
	if got := types.Names(); !slices.Equal(got, []string{"bounty", "https://acme.example/read"}) || !types.Has("bounty") || types.Has("") {
		t.Errorf("names %v", got)
	}
	if none, err := Compile(nil); err != nil || len(none.Names()) != 0 || none.Has("bounty") {
		t.Errorf("no types: %v", err)
	}
	var many []Type
	for i := range 65 {
		many = append(many, Type{Name: fmt.Sprint(i), Schema: json.RawMessage(`{"type":"object","properties":{}}`)})
	}
	if _, err := Compile(many); err == nil || !strings.Contains(err.Error(), "65 types") {
		t.Errorf("65 types: %v", err)
	}
	if _, err := Compile(many[:64]); err != nil {
		t.Errorf("64 types: %v", err)
	}
	many[1].Name, many[3].Schema = "0", nil
	_, err := Compile(many[:4])
	if invalid, ok := errors.AsType[*InvalidError](err); !ok || len(invalid.Problems) != 2 || invalid.Problems[0].Message != "registered twice" {
		t.Errorf("every problem: %v", err)
	}
}

// TestClosed: RA2. A schema that says it is open is closed all the same, inside too, and what a branch of it names is no field.
func TestClosed(t *testing.T) {
	t.Parallel()
	types := compile(t, Type{Name: "x", Narrowing: map[string]Rule{"a": Equal, "l": Equal}, Schema: json.RawMessage(`{
		"type": "object", "additionalProperties": true, "unevaluatedProperties": true, "anyOf": [{"properties": {"branch": {"type": "string"}}}],
		"properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}, "properties": {"b": {"type": "string"}}},
			"l": {"type": "array", "items": {"type": "object", "additionalProperties": true, "properties": {"b": {"type": "string"}}}}}}`)})
	parse(t, types, `[{"type":"x","a":{"b":"1"},"l":[{"b":"1"}]}]`)
	for _, raw := range []string{`{"type":"x","more":1}`, `{"type":"x","branch":"1"}`, `{"type":"x","a":{"more":"1"}}`, `{"type":"x","l":[{"more":"1"}]}`} {
		if _, err := types.Parse([]byte("[" + raw + "]")); !errors.Is(err, ErrDetails) || !strings.Contains(err.Error(), "has no field") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
