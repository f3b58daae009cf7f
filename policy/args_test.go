package policy

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"
	"pgregory.net/rapid"
)

// A JSON number becomes exactly what it says, or nothing.
func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,21})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number")
		scale := rapid.SampledFrom([]int{0, 4}).Draw(t, "scale")
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatal(text)
		}
		exact.Mul(exact, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		want := exact.IsInt() && exact.Num().IsInt64()
		got, err := scaled(text, scale)
		if want != (err == nil) || (want && exact.Num().Int64() != got) {
			t.Fatalf("scaled(%s, %d) = %d, %v; exactly %s", text, scale, got, err, exact)
		}
	})
}

func TestNumbersBeyondReason(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"1e999999999999999999": errRange, "1e-999999999999999999": errPlaces, "0e999999999999999999": nil, "-0.000": nil,
		"9223372036854775807": nil, "9223372036854775808": errRange, "-9223372036854775808": nil, "1e2147483647": errRange,
		"1e-2147483648": errPlaces, "1" + strings.Repeat("0", 100_000): errRange, "0." + strings.Repeat("0", 100_000) + "1": errPlaces,
	} {
		if _, err := scaled(text, 0); !errors.Is(err, want) {
			t.Errorf("%.30s: %v, want %v", text, err, want)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	root, err := parseArguments([]byte(`{"type": "object", "properties": {
		"text": {"type": "string"}, "count": {"type": "integer"}, "amount": {"type": "number"}, "flag": {"type": "boolean"},
		"tags": {"type": "array", "items": {"type": "string"}}, "page": {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]},
		"union": {"type": ["string", "integer"]}, "free": {"type": "object"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		``:                                     `{}`,
		`{}`:                                   `{}`,
		`{"text": "a\u00e9"}`:                  `{"text":"aé"}`,
		`{"count": 3}`:                         `{"count":3}`,
		`{"count": 3.0}`:                       `{"count":3}`,
		`{"count": -1e3}`:                      `{"count":-1000}`,
		`{"amount": 12.3400}`:                  `{"amount":decimal("12.34")}`,
		`{"amount": 7}`:                        `{"amount":decimal("7.0")}`,
		`{"flag": true}`:                       `{"flag":true}`,
		`{"tags": ["a", "a"]}`:                 `{"tags":["a"]}`,
		`{"tags": []}`:                         `{"tags":[]}`,
		`{"page": {"size": 1}}`:                `{"page":{"size":1}}`,
		`{"union": {"any": [1]}, "free": [2]}`: `{}`,

		`{"count": 3.5}`:          `argument "count": not an integer`,
		`{"count": "3"}`:          `argument "count": not a number`,
		`{"count": 1e30}`:         `argument "count": too large for policy`,
		`{"amount": 0.00001}`:     `argument "amount": more than four decimal places, which policy cannot see`,
		`{"amount": 1e15}`:        `argument "amount": too large for policy`,
		`{"flag": 1}`:             `argument "flag": not true or false`,
		`{"flag": null}`:          `argument "flag": not true or false`,
		`{"tags": "a"}`:           `argument "tags": not an array`,
		`{"tags": [1]}`:           `argument "tags": not a string`,
		`{"page": []}`:            `argument "page": not an object`,
		`{"page": {}}`:            `argument "page.size": missing`,
		`{"page": {"siz": 1}}`:    `argument "page.siz": the tool declares no such argument`,
		`{"Text": "a"}`:           `argument "Text": the tool declares no such argument`,
		`[]`:                      `the arguments: not an object`,
		`null`:                    `the arguments: not an object`,
		`{} {}`:                   `the arguments: not one JSON object`,
		`{`:                       `the arguments: not JSON: names may come once, and text is UTF-8`,
		`{"text": "a`:             `the arguments: not JSON: names may come once, and text is UTF-8`,
		`{"text": tru}`:           `the arguments: not JSON: names may come once, and text is UTF-8`,
		`{"count": 01}`:           `the arguments: not JSON: names may come once, and text is UTF-8`,
		`{"text":"a","text":"b"}`: `the arguments: not JSON: names may come once, and text is UTF-8`,
		`{"union":{"a":1,"a":2}}`: `the arguments: not JSON: names may come once, and text is UTF-8`,
		"{\"text\": \"\xff\"}":    `the arguments: not JSON: names may come once, and text is UTF-8`,
		`{"text": "\ud800"}`:      `the arguments: not JSON: names may come once, and text is UTF-8`,
		`{"tags": [` + strings.Repeat(`"a",`, maxElements) + `"b"]}`:                    `argument "tags": more than 1000 elements`,
		`{"text": "` + strings.Repeat("a", MaxArguments) + `"}`:                         `the arguments: more than 1048576 bytes`,
		`{"free": ` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`: `the arguments: not JSON: names may come once, and text is UTF-8`,
		`{"` + strings.Repeat("n", 100) + `": 1}`:                                       `argument "` + strings.Repeat("n", 64) + `…": the tool declares no such argument`,
	} {
		got, err := root.readArguments([]byte(in))
		text := string(got.MarshalCedar())
		if err != nil {
			text = err.Error()
		}
		if strings.ReplaceAll(text, `": `, `":`) != strings.ReplaceAll(want, `": `, `":`) {
			t.Errorf("%.60s\n got %s\nwant %s", in, text, want)
		}
	}
}

// An object that the tool leaves open may carry more than policy sees; one that it does not, may not.
func TestOpenArguments(t *testing.T) {
	t.Parallel()
	for schema, open := range map[string]bool{
		``: false, `{"type":"object"}`: true, `{}`: true, `{"type":"object","additionalProperties":false}`: false,
		`{"properties":{"a":{"type":"string"}}}`: false, `{"properties":{"a":{"type":"string"}},"additionalProperties":false}`: false,
		`{"properties":{"a":{"type":"string"}},"additionalProperties":true}`:       true,
		`{"properties":{"a":{"type":"string"}},"patternProperties":{"^x":true}}`:   true,
		`{"properties":{"a":{"type":"string"}},"additionalProperties":{"type":1}}`: true,
	} {
		root, err := parseArguments([]byte(schema))
		if err != nil {
			t.Fatal(schema, err)
		}
		if _, err := root.readArguments([]byte(`{"other": 1}`)); (err == nil) != open {
			t.Errorf("%s: %v", schema, err)
		}
	}
}

// What is read of arguments always fits the schema that is generated from the same shape.
func TestArgumentsFitTheSchema(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := drawSchema(t, 0)
		b := bundle(`@id("all") permit (principal, action, resource);`)
		b.Providers = append(b.Providers, Provider{Name: "x", Tools: []Tool{{Name: "x.tool",
			Args: []byte(fmt.Sprintf(`{"type":"object","properties":{"a":%s},"required":["a"]}`, text))}}})
		s, err := Compile(b)
		if err != nil {
			t.Fatal(err)
		}
		value := rapid.SampledFrom([]string{`"s"`, `1`, `1.5`, `true`, `[]`, `["s"]`, `[1]`, `[[1.5]]`, `{}`, `{"a":"s"}`, `{"a":1}`, `{"a":{"a":true}}`, `[{"a":"s"}]`}).Draw(t, "value")
		r := callRequest("x.tool", `{"a":`+value+`}`)
		_, err = s.tools["x.tool"].args.readArguments(r.Arguments)
		if d := s.Call(r); d.Allowed != (err == nil) || d.Reason == reasonSchema {
			t.Fatalf("%s with %s: %v, %v", text, value, d, err)
		}
	})
}

func drawSchema(t *rapid.T, depth int) string {
	kinds := []string{`{"type":"string"}`, `{"type":"integer"}`, `{"type":"number"}`, `{"type":"boolean"}`, `{}`, `{"type":["string","null"]}`}
	switch k := rapid.IntRange(0, len(kinds)+1).Draw(t, "kind"); {
	case k < len(kinds) || depth > 3:
		return kinds[k%len(kinds)]
	case k == len(kinds):
		return `{"type":"array","items":` + drawSchema(t, depth+1) + `}`
	default:
		required := rapid.SampledFrom([]string{`[]`, `["a"]`}).Draw(t, "required")
		return `{"type":"object","properties":{"a":` + drawSchema(t, depth+1) + `},"required":` + required + `}`
	}
}

func TestDecimalRange(t *testing.T) {
	t.Parallel()
	root, err := parseArguments([]byte(`{"properties":{"a":{"type":"number"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"922337203685477.5807", "-922337203685477.5808", "0.0001", "-0.5"} {
		got, err := root.readArguments([]byte(`{"a":` + text + `}`))
		if err != nil {
			t.Fatal(err)
		}
		want, err := types.ParseDecimal(text)
		if err != nil {
			t.Fatal(err)
		}
		if v, _ := got.Get("a"); !v.Equal(want) {
			t.Errorf("%s became %v", text, v)
		}
	}
}
