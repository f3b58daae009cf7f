package fakes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/connection"
)

// Now is when the answers come: times in them are relative to it.
func Now() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }

// Check holds a record to its fakes: all cases that it needs are there, and each answer is understood as it should be. It returns
// what is wrong, each thing with its place.
func (f Fakes) Check(p connection.Provider) []string {
	var wrong []string
	if f.Provider != p.Name() {
		wrong = append(wrong, fmt.Sprintf("provider: they are those of %q", f.Provider))
	}
	for _, need := range Needs(p) {
		_, there := f.Cases[need]
		if why := strings.TrimSpace(f.Absent[need]); there == (why != "") {
			wrong = append(wrong, "cases/"+need+": must be there, or absent with a reason, and not both")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Cases)) {
		for _, w := range f.Cases[name].check(p, name) {
			wrong = append(wrong, "cases/"+name+": "+w)
		}
	}
	return wrong
}

// meaning is what a case of that name must be understood as, whatever the file says.
func meaning(name string) connection.Kind {
	switch name {
	case "revoked", "rotation_race":
		return connection.Revoked
	case "rate_limit":
		return connection.RateLimited
	}
	return ""
}

// check reads an answer as the executor would, and compares what it means.
func (f Fake) check(p connection.Provider, name string) []string {
	var wrong []string
	if (f.Source == "") == !f.Unverified {
		wrong = append(wrong, "needs a source, or unverified: true, and not both")
	}
	if want := meaning(name); want != "" && f.Expect.Kind != want {
		wrong = append(wrong, fmt.Sprintf("must be understood as %s, not %q", want, f.Expect.Kind))
	}
	switch f.At {
	case "token", "refresh", "mint":
		return append(wrong, f.grant(p)...)
	case "api":
		return append(wrong, f.api(p)...)
	}
	return append(wrong, fmt.Sprintf("at must be token, refresh, mint or api, not %q", f.At))
}

func (f Fake) grant(p connection.Provider) []string {
	pattern := connection.OAuth
	if f.At == "mint" {
		pattern = connection.ServiceAccount
	}
	g, err := p.ReadGrant(pattern, f.Status, f.Header(), []byte(f.Body), Now())
	var r *connection.Refusal
	switch {
	case errors.As(err, &r):
		if r.Kind != f.Expect.Kind || r.Code != f.Expect.Code || r.RetryAfter != f.Expect.RetryAfter {
			return []string{fmt.Sprintf("is understood as %s, code %q, retry after %s", r.Kind, r.Code, r.RetryAfter)}
		}
		return nil
	case err != nil:
		return []string{err.Error()}
	case f.Expect.Kind != "":
		return []string{fmt.Sprintf("is understood as a grant, not as %s", f.Expect.Kind)}
	}
	return f.Expect.granted(g)
}

func (f Fake) api(p connection.Provider) []string {
	pattern := connection.APIKey
	for _, other := range []connection.Pattern{connection.OAuth, connection.ServiceAccount} {
		if p.Supports(other) {
			pattern = other
			break
		}
	}
	failure, bad := p.Tools()[0].Classify(f.Status, f.Header(), []byte(f.Body), pattern, Now())
	if !bad || failure.Kind != f.Expect.Kind || failure.RetryAfter != f.Expect.RetryAfter {
		return []string{fmt.Sprintf("is understood as %q, retry after %s", failure.Kind, failure.RetryAfter)}
	}
	return nil
}

func (e Expectation) granted(g connection.Grant) []string {
	var wrong []string
	if (len(g.Refresh) > 0) != e.Refresh {
		wrong = append(wrong, fmt.Sprintf("has a refresh token: %v", len(g.Refresh) > 0))
	}
	var in time.Duration
	if !g.Expires.IsZero() {
		in = g.Expires.Sub(Now())
	}
	if in != e.ExpiresIn {
		wrong = append(wrong, fmt.Sprintf("expires in %s", in))
	}
	if !slices.Equal(g.Scopes, e.Scopes) {
		wrong = append(wrong, fmt.Sprintf("has the scopes %q", g.Scopes))
	}
	if g.Account != e.Account {
		wrong = append(wrong, fmt.Sprintf("has the account %q", g.Account))
	}
	if len(g.Settings)+len(e.Settings) > 0 && !maps.Equal(g.Settings, e.Settings) {
		wrong = append(wrong, fmt.Sprintf("has the settings %q", g.Settings))
	}
	return wrong
}
