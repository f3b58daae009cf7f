package scimhttp_test

import (
	"net/http"
	"net/url"
	"testing"
)

// FuzzPatch: whatever a provider sends, it is answered, is never an internal error, and leaves a user that can be read.
func FuzzPatch(f *testing.F) {
	s := serve(f, nil)
	users := map[bool]string{true: s.create(f, "/Users", user("alice")), false: s.create(f, "/Groups", group("g"))}
	for _, seed := range []string{
		`[{"op":"replace","value":{"active":false}}]`, `[{"op":"Replace","path":"emails[type eq \"work\"].value","value":"x"}]`,
		`[{"op":"remove","path":"members[value eq \"x\"]"}]`, `[{"op":"add","path":"name","value":null}]`, `[{"op":"add","value":{"emails":[1]}}]`,
		`[{"op":"add","path":"members","value":{"value":"x"}}]`, `[{"op":"remove","path":"name.givenName","value":[]}]`, `[1]`, `{}`,
		`[{"op":"add","path":"emails[primary eq true]","value":{"value":"a"}}]`, `[{"op":"replace","path":"name","value":"x"}]`,
	} {
		f.Add(true, seed)
		f.Add(false, seed)
	}
	f.Fuzz(func(t *testing.T, isUser bool, operations string) {
		path := "/Groups/"
		if isUser {
			path = "/Users/"
		}
		path += users[isUser]
		if code, out := s.ask(t, http.MethodPatch, path, patch(operations)); code >= 500 {
			t.Fatalf("%d %v: %s", code, out, s.log)
		}
		if code, out := s.ask(t, http.MethodGet, path, ""); code != http.StatusOK {
			t.Fatalf("%d %v", code, out)
		}
	})
}

// FuzzFilter: the same of a filter.
func FuzzFilter(f *testing.F) {
	s := serve(f, nil)
	for _, seed := range []string{`userName eq "a"`, `emails[type eq "work"].value eq "x"`, `not (a pr)`, `urn:x:y eq 1`, `id eq "\u0000"`, `a`, `(`, `userName eq "a" and`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		for _, kind := range []string{"/Users", "/Groups"} {
			if code, out := s.ask(t, http.MethodGet, kind+"?filter="+url.QueryEscape(filter), ""); code >= 500 {
				t.Fatalf("%d %v: %s", code, out, s.log)
			}
		}
	})
}
