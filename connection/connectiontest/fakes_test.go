package connectiontest_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/connection/connectiontest"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// TestEveryRecordHasFakes: a record without an answer for each thing that can happen at its provider is not known to work.
func TestEveryRecordHasFakes(t *testing.T) {
	t.Parallel()
	for _, p := range connection.Builtin() {
		t.Run(p.Name(), func(t *testing.T) {
			t.Parallel()
			f, err := connectiontest.Load(p.Name())
			if err != nil {
				t.Fatal(err)
			}
			if f.Provider != p.Name() {
				t.Errorf("they are those of %q", f.Provider)
			}
			for _, need := range connectiontest.Needs(p) {
				_, there := f.Cases[need]
				if why := strings.TrimSpace(f.Absent[need]); there == (why != "") {
					t.Errorf("case %s must be there, or absent with a reason, and not both", need)
				}
			}
			for name, c := range f.Cases {
				t.Run(name, func(t *testing.T) { holds(t, p, name, c) })
			}
		})
	}
}

// holds reads an answer as the executor would, and compares what it means.
func holds(t *testing.T, p connection.Provider, name string, c connectiontest.Fake) {
	if (c.Source == "") == !c.Unverified {
		t.Error("needs a source, or unverified: true, and not both")
	}
	if want := map[string]connection.Kind{
		"revoked": connection.Revoked, "rotation_race": connection.Revoked, "rate_limit": connection.RateLimited,
	}[name]; want != "" && c.Expect.Kind != want {
		t.Errorf("%s must be understood as %s, not %q", name, want, c.Expect.Kind)
	}
	switch c.At {
	case "token", "refresh", "mint":
		pattern := connection.OAuth
		if c.At == "mint" {
			pattern = connection.ServiceAccount
		}
		g, err := p.ReadGrant(pattern, c.Status, c.Header(), []byte(c.Body), now)
		var r *connection.Refusal
		switch {
		case errors.As(err, &r):
			if r.Kind != c.Expect.Kind || r.Code != c.Expect.Code || r.RetryAfter != c.Expect.RetryAfter {
				t.Errorf("understood as %s, code %q, retry after %s", r.Kind, r.Code, r.RetryAfter)
			}
		case err != nil:
			t.Error(err)
		case c.Expect.Kind != "":
			t.Errorf("understood as a grant, not as %s", c.Expect.Kind)
		default:
			granted(t, g, c.Expect)
		}
	case "api":
		tools := p.Tools()
		pattern := connection.APIKey
		for _, other := range []connection.Pattern{connection.OAuth, connection.ServiceAccount} {
			if p.Supports(other) {
				pattern = other
				break
			}
		}
		f, bad := tools[0].Classify(c.Status, c.Header(), []byte(c.Body), pattern, now)
		if !bad || f.Kind != c.Expect.Kind || f.RetryAfter != c.Expect.RetryAfter {
			t.Errorf("understood as %q, retry after %s", f.Kind, f.RetryAfter)
		}
	default:
		t.Errorf("at must be token, refresh, mint or api, not %q", c.At)
	}
}

func granted(t *testing.T, g connection.Grant, want connectiontest.Expectation) {
	t.Helper()
	if (len(g.Refresh) > 0) != want.Refresh {
		t.Errorf("a refresh token: %v", len(g.Refresh) > 0)
	}
	var in time.Duration
	if !g.Expires.IsZero() {
		in = g.Expires.Sub(now)
	}
	if in != want.ExpiresIn {
		t.Errorf("expires in %s", in)
	}
	if !slices.Equal(g.Scopes, want.Scopes) {
		t.Errorf("scopes %q", g.Scopes)
	}
	if g.Account != want.Account {
		t.Errorf("account %q", g.Account)
	}
	if len(g.Settings)+len(want.Settings) > 0 && !maps.Equal(g.Settings, want.Settings) {
		t.Errorf("settings %q", g.Settings)
	}
}
