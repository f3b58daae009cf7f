package jose_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/onbehalf/obo/jose"
)

// TestDecode: the ways in which JSON can mean two things to two readers (JW9, ACT13).
func TestDecode(t *testing.T) {
	t.Parallel()
	type inner struct {
		Sub string `json:"sub"`
	}
	type document struct {
		Org string `json:"org_id"`
		Act *inner `json:"act"`
		N   int    `json:"n"`
	}
	deep := func(n int) string { return `{"x":` + strings.Repeat(`[`, n-1) + strings.Repeat(`]`, n-1) + `}` }
	for name, c := range map[string]struct {
		doc                    string
		open, closed, asClaims bool
	}{
		"plain":                    {`{"org_id":"a","act":{"sub":"s"},"n":1}`, true, true, true},
		"unknown member":           {`{"org_id":"a","x":1}`, true, false, true},
		"unknown inner member":     {`{"act":{"sub":"s","x":null}}`, true, false, true},
		"other case":               {`{"ORG_ID":"a"}`, true, false, true}, // another member, not the same
		"null":                     {`{"act":null}`, true, true, false},
		"null string":              {`{"org_id":null}`, true, true, false},
		"inner null":               {`{"act":{"sub":null}}`, true, true, false},
		"null document":            {`null`, true, true, false},
		"duplicate":                {`{"org_id":"a","org_id":"b"}`, false, false, false},
		"duplicate by escape":      {`{"org_id":"a","\u006frg_id":"b"}`, false, false, false},
		"duplicate inner":          {`{"act":{"sub":"a","sub":"b"}}`, false, false, false},
		"duplicate act":            {`{"act":{"sub":"a"},"act":{}}`, false, false, false},
		"duplicate in the unknown": {`{"x":{"y":1,"y":2}}`, false, false, false},
		"bad UTF-8":                {"{\"org_id\":\"\xff\"}", false, false, false},
		"lone surrogate":           {`{"org_id":"\ud800"}`, false, false, false},
		"trailing comma":           {`{"org_id":"a",}`, false, false, false},
		"comment":                  {`{/**/}`, false, false, false},
		"trailing value":           {`{} {}`, false, false, false},
		"byte order mark":          {"\ufeff{}", false, false, false},
		"NaN":                      {`{"n":NaN}`, false, false, false},
		"number too big":           {`{"n":1e400}`, false, false, false},
		"empty":                    {``, false, false, false},
		"32 deep":                  {deep(32), true, false, true},
		"33 deep":                  {deep(33), false, false, false},
		"a million deep":           {deep(1 << 20), false, false, false},
		"brackets in a string":     {`{"org_id":"` + strings.Repeat("[", 100) + `\"["}`, true, true, true},
	} {
		for kind, decode := range map[string]struct {
			call func([]byte, any) error
			want bool
		}{
			"Decode":       {jose.Decode, c.open},
			"DecodeClosed": {jose.DecodeClosed, c.closed},
			"DecodeClaims": {jose.DecodeClaims, c.asClaims},
		} {
			var d document
			if err := decode.call([]byte(c.doc), &d); (err == nil) != decode.want {
				t.Errorf("%s of %s: %v, want ok %t", kind, name, err, decode.want)
			} else if err != nil && !errors.Is(err, jose.ErrMalformed) {
				t.Errorf("%s of %s: %v does not wrap ErrMalformed", kind, name, err)
			}
		}
	}
}

// TestDecodeErrorHasNoValue: an error names the place of a bad value; the value may be a secret.
func TestDecodeErrorHasNoValue(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{`{"n":"canary-7Q"}`, `{"n":"canary-7Q`, `{"canary-7Q":1}x`, `{"n":canary-7Q}`} {
		err := jose.Decode([]byte(doc), &struct {
			N int `json:"n"`
		}{})
		if err == nil || strings.Contains(err.Error(), "canary-7Q") {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	for range 20 {
		data, err := jose.Encode(map[string]any{"b": 1, "a": []string{"<&>"}, "c": map[string]int{"y": 1, "x": 2}})
		if err != nil || string(data) != `{"a":["<&>"],"b":1,"c":{"x":2,"y":1}}` {
			t.Fatalf("%s, %v", data, err)
		}
	}
	if _, err := jose.Encode("\xff"); !errors.Is(err, jose.ErrMalformed) {
		t.Errorf("bad UTF-8: %v", err)
	}
}
