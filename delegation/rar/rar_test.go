package rar

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// bountySchema has a field for each rule, and for each JSON type.
const bountySchema = `{"type": "object", "required": ["amount"], "properties": {
	"locations": {"type": "array", "items": {"type": "string"}},
	"actions": {"type": "array", "items": {"enum": ["pay", "refund"], "type": "string"}},
	"levels": {"type": "array", "items": {"type": "number"}},
	"repository": {"type": "string", "maxLength": 100},
	"amount": {"type": "number", "minimum": 0, "maximum": 10000.5},
	"count": {"type": "integer"},
	"currency": {"type": "string", "enum": ["USD", "EUR"]},
	"urgent": {"type": "boolean"},
	"payee": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}}}}}`

func bounty() Type {
	return Type{
		Name: "bounty", Schema: json.RawMessage(bountySchema),
		Narrowing: map[string]Rule{
			"locations": Subset, "actions": Subset, "levels": Subset, "repository": Prefix, "amount": AtMost, "count": AtMost,
			"currency": Equal, "urgent": Equal, "payee": Equal,
		},
		Covers: []Cover{
			{Tool: "payments.pay", Arguments: map[string]string{
				"repository": "/repository", "amount": "/total/amount", "currency": "/total/currency", "levels": "/level", "payee": "/payee"}},
			{Tool: "payments.label", Arguments: map[string]string{"actions": "/labels", "urgent": "/flags/1"}},
		},
	}
}

// read is a type that also governs payments.pay.
func read() Type {
	return Type{
		Name: "https://acme.example/read", Schema: json.RawMessage(`{"type": "object", "properties": {"paths": {"type": "array", "items": {"type": "string"}}}}`),
		Narrowing: map[string]Rule{"paths": Subset},
		Covers:    []Cover{{Tool: "files.read", Arguments: map[string]string{"paths": "/a~1b/~0path"}}},
	}
}

func compile(t testing.TB, types ...Type) Types {
	t.Helper()
	out, err := Compile(types)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func standard(t testing.TB) Types { t.Helper(); return compile(t, bounty(), read()) }

func parse(t testing.TB, types Types, text string) Details {
	t.Helper()
	d, err := types.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

// TestParse: RA1, RA2, RA8. The table holds what is refused, and what is said about it.
func TestParse(t *testing.T) {
	t.Parallel()
	types := standard(t)
	long := strings.Repeat("x", 200)
	for _, test := range []struct{ name, raw, says string }{
		{"RA1 nothing", ``, "no JSON"},
		{"RA1 not JSON", `[{`, "no JSON"},
		{"RA1 more than JSON", `[{"type":"bounty","amount":1}] []`, "no JSON"},
		{"RA1 an object", `{"type":"bounty","amount":1}`, "not an array of 1 to 16 objects"},
		{"RA1 null", `null`, "not an array"},
		{"RA1 an empty array", `[]`, "not an array of 1 to 16"},
		{"RA1 too many objects", `[` + strings.Repeat(`{"type":"bounty","amount":1},`, 16) + `{"type":"bounty","amount":1}]`, "not an array of 1 to 16"},
		{"RA1 not objects", `["bounty"]`, "object 1: not an object"},
		{"RA1 no type", `[{"amount":1}]`, `object 1: it needs a "type"`},
		{"RA1 a type that is no string", `[{"type":["bounty"],"amount":1}]`, `it needs a "type"`},
		{"RA1 a type in other case", `[{"Type":"bounty","amount":1}]`, `it needs a "type"`},
		{"RA1 not UTF-8", "[{\"type\":\"bounty\",\"amount\":1,\"repository\":\"\xff\"}]", "no JSON, not UTF-8"},
		{"RA1 a name twice", `[{"type":"bounty","amount":1,"amount":2}]`, "a name twice"},
		{"RA1 a name twice, once escaped", `[{"type":"bounty","amount":1,"\u0061mount":2}]`, "a name twice"},
		{"RA1 the type twice", `[{"type":"bounty","type":"bounty","amount":1}]`, "a name twice"},
		{"RA1 a name twice inside", `[{"type":"bounty","amount":1,"payee":{"name":"a","name":"b"}}]`, "a name twice"},
		{"RA1 too deep", `[{"type":"bounty","amount":1,"payee":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}]`, "no JSON"},
		{"RA1 too long", `[{"type":"bounty","amount":1}` + strings.Repeat(" ", MaxSize) + `]`, "more than 4096 bytes"},
		{"RA1 too many values", `[{"type":"bounty","amount":1,"levels":[` + strings.Repeat("1,", 255) + `1]}]`, "more than 256 values"},
		{"RA2 an unknown type", `[{"type":"bounty","amount":1},{"type":"Bounty","amount":1}]`, `object 2, type "Bounty": there is no such type`},
		{"RA2 an unknown type of many characters", `[{"type":"` + long + `"}]`, `type "` + long[:64] + `..."`},
		{"RA2 an unknown field", `[{"type":"bounty","amount":1,"more":true}]`, `object 1, type "bounty": has no field "more"`},
		{"RA2 a field in other case", `[{"type":"bounty","amount":1,"Currency":"USD"}]`, `has no field "Currency"`},
		{"RA2 an unknown field inside", `[{"type":"bounty","amount":1,"payee":{"name":"a","iban":"b"}}]`, `field "payee": has no field "iban"`},
		{"RA2 a wrong type", `[{"type":"bounty","amount":"1"}]`, `type "bounty", field "amount": must be number, not string`},
		{"RA2 null for a value", `[{"type":"bounty","amount":1,"currency":null}]`, `field "currency": must be string, not null`},
		{"RA2 a wrong type inside", `[{"type":"bounty","amount":1,"locations":["a",7]}]`, `field "locations.`},
		{"RA2 a fraction for an integer", `[{"type":"bounty","amount":1,"count":1.5}]`, `field "count": must be integer`},
		{"RA2 an invalid value", `[{"type":"bounty","amount":1,"currency":"GBP"}]`, `field "currency": must be one of the values`},
		{"RA2 too little", `[{"type":"bounty","amount":-0.01}]`, `field "amount": must be at least 0`},
		{"RA2 too much", `[{"type":"bounty","amount":10000.51}]`, `field "amount": must be at most 10000.5`},
		{"RA2 beyond a limit that a float would round to", `[{"type":"bounty","amount":10000.5000000000000000000000000001}]`, `must be at most 10000.5`},
		{"RA2 too long a string", `[{"type":"bounty","amount":1,"repository":"` + long + `"}]`, `field "repository": fails the schema's maxLength`},
		{"RA2 a missing field", `[{"type":"bounty"}]`, `type "bounty": needs "amount"`},
		{"RA2 a missing field inside", `[{"type":"bounty","amount":1,"payee":{}}]`, `field "payee": needs "name"`},
		{"RA2 a number that costs", `[{"type":"bounty","amount":1e999999999}]`, `type "bounty": it has a number of more digits`},
		{"RA2 digits that cost", `[{"type":"bounty","amount":0.` + strings.Repeat("1", 100) + `}]`, `a number of more digits`},
		{"RA8 composed is not decomposed", `[{"type":"bounty","amount":1,"` + "\u00e9" + `":1}]`, `has no field "\u00e9"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d, err := types.Parse([]byte(test.raw))
			if !errors.Is(err, ErrDetails) || !d.Empty() {
				t.Fatalf("%v", err)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("got  %v\nwant %s", err, test.says)
			}
			if len(err.Error()) > 300 || strings.Contains(err.Error(), long[:70]) {
				t.Errorf("an error of %d bytes: %v", len(err.Error()), err)
			}
		})
	}
	var numbers []string
	for i := range 200 {
		numbers = append(numbers, fmt.Sprintf("%de20", i+1))
	}
	growing := `[{"type":"bounty","amount":1,"levels":[` + strings.Join(numbers, ",") + `]}]`
	if _, err := types.Parse([]byte(growing)); len(growing) > MaxSize || !errors.Is(err, ErrDetails) || !strings.Contains(err.Error(), "4096") {
		t.Errorf("RA1 longer as it is written than as it came: %v", err)
	}
	if _, err := (Types{}).Parse([]byte(`[{"type":"bounty","amount":1}]`)); !errors.Is(err, ErrDetails) {
		t.Errorf("RA2 no types: %v", err)
	}
}

// TestErrorsHideValues: what a detail says may be private. Errors name fields, never values.
func TestErrorsHideValues(t *testing.T) {
	t.Parallel()
	types := standard(t)
	const private = "4242"
	for _, raw := range []string{
		`[{"type":"bounty","amount":1,"currency":"4242"}]`, `[{"type":"bounty","amount":4242424242}]`, `[{"type":"bounty","amount":"4242"}]`,
		`[{"type":"bounty","amount":1,"repository":4242}]`, `[{"type":"bounty","amount":1,"actions":["4242"]}]`, `[4242]`, `[{"type":4242}]`,
		`[{"type":"bounty","amount":1,"count":4242.5}]`, `[{"type":"bounty","amount":1,"payee":{"name":4242}}]`, `["4242`,
	} {
		if _, err := types.Parse([]byte(raw)); err == nil || strings.Contains(err.Error(), private) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	token := []byte(`[{"type":"bounty","amount":4242,"repository":"4242/"}]`)
	_, err := types.Cover(token, "payments.pay", []byte(`{"repository":"424","total":{"amount":42424242}}`))
	if err == nil || strings.Contains(err.Error(), "424") {
		t.Errorf("Cover: %v", err)
	}
	err = parse(t, types, `[{"type":"bounty","amount":4242}]`).Within(parse(t, types, `[{"type":"bounty","amount":424}]`))
	if err == nil || strings.Contains(err.Error(), "424") {
		t.Errorf("Within: %v", err)
	}
}

// TestCanonical: RA8. Details have one form, which reads as itself; strings stay as they are, byte for byte.
func TestCanonical(t *testing.T) {
	t.Parallel()
	types := standard(t)
	for _, test := range []struct{ name, raw, want string }{
		{"white space and order", ` [ { "currency" : "USD" , "amount" : 1 , "type" : "bounty" } ] `, `[{"type":"bounty","amount":1,"currency":"USD"}]`},
		{"no fields", `[{"type":"https://acme.example/read"}]`, `[{"type":"https://acme.example/read"}]`},
		{"numbers", `[{"amount":1.50e+2,"count":-0.0,"type":"bounty","levels":[1e30,1e-30,0.010,-20E-1]}]`,
			`[{"type":"bounty","amount":150,"count":0,"levels":[-2,0.01,1e-30,1e30]}]`},
		{"sets", `[{"type":"bounty","amount":1,"locations":["b","a","b"],"levels":[1.0,1]}]`, `[{"type":"bounty","amount":1,"levels":[1],"locations":["a","b"]}]`},
		{"an array under equal keeps its order", `[{"type":"bounty","amount":1,"payee":{"tags":["b","a","b"],"name":"x"}}]`,
			`[{"type":"bounty","amount":1,"payee":{"name":"x","tags":["b","a","b"]}}]`},
		{"RA8 escapes are JSON's, not the text's", `[{"type":"\u0062ounty","amount":1,"repository":"\u0061\/e\u0301\u00e9\t"}]`,
			`[{"type":"bounty","amount":1,"repository":"a/` + "e\u0301\u00e9" + `\t"}]`},
		{"the order of objects", `[{"type":"bounty","amount":2},{"type":"bounty","amount":1},{"type":"bounty","amount":2}]`,
			`[{"type":"bounty","amount":2},{"type":"bounty","amount":1},{"type":"bounty","amount":2}]`},
		{"a number as large as is read", `[{"type":"bounty","amount":0.` + strings.Repeat("0", 63) + `1}]`, `[{"type":"bounty","amount":1e-64}]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := parse(t, types, test.raw)
			if got := string(d.JSON()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if again := parse(t, types, test.want); string(again.JSON()) != test.want {
				t.Errorf("read again: %s", again.JSON())
			}
		})
	}
}

// TestDetails is what can be asked of details.
func TestDetails(t *testing.T) {
	t.Parallel()
	types := standard(t)
	var none Details
	if !none.Empty() || none.JSON() != nil || len(none.List()) != 0 || !none.At("x").Empty() || none.Types().Has("bounty") {
		t.Errorf("the zero Details: %+v", none)
	}
	d := parse(t, types, `[{"type":"bounty","amount":1},{"type":"https://acme.example/read","paths":["/"]}]`)
	list := d.List()
	if len(list) != 2 || list[1].Type != "https://acme.example/read" || string(list[0].JSON) != `{"type":"bounty","amount":1}` {
		t.Errorf("%+v", list)
	}
	list[0].JSON[2] = 'X' // who holds a list cannot change the details
	kept := d.Keep(func(o Detail) bool { o.JSON[2] = 'X'; return o.Type == "bounty" })
	if string(kept.JSON()) != `[{"type":"bounty","amount":1}]` || len(d.List()) != 2 {
		t.Errorf("kept %s of %s", kept.JSON(), d.JSON())
	}
	if none := d.Keep(func(Detail) bool { return false }); none.JSON() != nil || !none.Empty() {
		t.Errorf("kept %s", none.JSON())
	}
	if !kept.Types().Has("bounty") || kept.Types().Has("Bounty") {
		t.Error("the types of what is kept")
	}
}

// TestAt: RA6. A token for one resource has no detail that is meant for others.
func TestAt(t *testing.T) {
	t.Parallel()
	types := standard(t)
	d := parse(t, types, `[{"type":"bounty","amount":1},
		{"type":"bounty","amount":2,"locations":["https://a.example","https://b.example"]},
		{"type":"bounty","amount":3,"locations":["https://b.example"]},
		{"type":"bounty","amount":4,"locations":[]}]`)
	for resource, want := range map[string]string{
		"https://a.example": `[{"type":"bounty","amount":1},{"type":"bounty","amount":2,"locations":["https://a.example","https://b.example"]}]`,
		"https://b.example": `[{"type":"bounty","amount":1},{"type":"bounty","amount":2,"locations":["https://a.example","https://b.example"]},` +
			`{"type":"bounty","amount":3,"locations":["https://b.example"]}]`,
		"https://a.example/": `[{"type":"bounty","amount":1}]`, // RA8
		"https://A.example":  `[{"type":"bounty","amount":1}]`,
		"":                   `[{"type":"bounty","amount":1}]`,
	} {
		at := d.At(resource)
		if got := string(at.JSON()); got != want {
			t.Errorf("RA6 %s\ngot  %s\nwant %s", resource, got, want)
		}
		if err := at.Within(d); err != nil {
			t.Errorf("RA6 %s: %v", resource, err)
		}
	}
}
