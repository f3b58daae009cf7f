package fakes_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/connection/fakes"
)

// TestEveryRecordHasFakes: a record without an answer for each thing that can happen at its provider is not known to work.
func TestEveryRecordHasFakes(t *testing.T) {
	t.Parallel()
	for _, p := range connection.Builtin() {
		t.Run(p.Name(), func(t *testing.T) {
			t.Parallel()
			f, err := fakes.Load(p.Name())
			if err != nil {
				t.Fatal(err)
			}
			for _, wrong := range f.Check(p) {
				t.Error(wrong)
			}
		})
	}
}

// TestCheckFindsEachFault: a check that passes everything would let every record through.
func TestCheckFindsEachFault(t *testing.T) {
	t.Parallel()
	var google connection.Provider
	for _, p := range connection.Builtin() {
		if p.Name() == "google" {
			google = p
		}
	}
	for name, c := range map[string]struct {
		change func(f *fakes.Fakes)
		want   string
	}{
		"another provider":    {func(f *fakes.Fakes) { f.Provider = "other" }, "provider: "},
		"a case is missing":   {func(f *fakes.Fakes) { delete(f.Cases, "revoked") }, "cases/revoked: must be there"},
		"there and absent":    {func(f *fakes.Fakes) { f.Absent["revoked"] = "why" }, "cases/revoked: must be there"},
		"no source":           {change("revoked", func(c *fakes.Fake) { c.Source = "" }), "cases/revoked: needs a source"},
		"another meaning":     {change("revoked", func(c *fakes.Fake) { c.Expect.Kind = connection.StepUp }), "cases/revoked: must be understood as revoked"},
		"misread refusal":     {change("step_up", func(c *fakes.Fake) { c.Body = "{}" }), "cases/step_up: is understood as unavailable"},
		"grant for a failure": {change("revoked", func(c *fakes.Fake) { c.Status, c.Body = 200, `{"access_token":"x"}` }), "cases/revoked: is understood as a grant"},
		"misread grant":       {change("connected", func(c *fakes.Fake) { c.Expect.Refresh = false }), "cases/connected: has a refresh token"},
		"another life":        {change("minted", func(c *fakes.Fake) { c.Expect.ExpiresIn = 0 }), "cases/minted: expires in"},
		"other scopes":        {change("connected", func(c *fakes.Fake) { c.Expect.Scopes = nil }), "cases/connected: has the scopes"},
		"misread answer":      {change("rate_limit", func(c *fakes.Fake) { c.Body = "{}" }), "cases/rate_limit: is understood as"},
		"from nowhere":        {change("minted", func(c *fakes.Fake) { c.At = "moon" }), "cases/minted: at must be"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := fakes.Load("google")
			if err != nil {
				t.Fatal(err)
			}
			c.change(&f)
			if wrong := f.Check(google); !slices.ContainsFunc(wrong, func(w string) bool { return strings.HasPrefix(w, c.want) }) {
				t.Errorf("found %q, want %q", wrong, c.want)
			}
		})
	}
}

func change(name string, with func(*fakes.Fake)) func(*fakes.Fakes) {
	return func(f *fakes.Fakes) {
		c := f.Cases[name]
		with(&c)
		f.Cases[name] = c
	}
}
