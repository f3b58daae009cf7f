package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

func TestParseSince(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("east", 2*3600)
	now := time.Date(2026, 3, 4, 13, 30, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"2026-03-04T10:00:00Z": time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC), "12:00": time.Date(2026, 3, 4, 12, 0, 0, 0, zone),
		"2h": now.Add(-2 * time.Hour), "90m ago": now.Add(-90 * time.Minute), "14:00": {}, "-2h": {}, "noon": {}, "": {}, "0s": {}, "ago": {},
	} {
		if got, err := parseSince(text, now); !got.Equal(want) || (err == nil) == want.IsZero() {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

// TestShowRevoked: what a person reads says whom it hits, what it does not stop, and what to do about that.
func TestShowRevoked(t *testing.T) {
	t.Parallel()
	now := timestamppb.Now()
	entry := func(kind string) *obov1.Revocation {
		return &obov1.Revocation{Kind: kind, Id: "x\x1b[2J", OrgId: "acme", Scope: "github:", Since: now, Before: now, Departed: kind == "subject"}
	}
	tokens := []*obov1.LiveToken{{Id: "j1", Transaction: "t1", Subject: "user:acme/s|al\x1bice", Actor: "agent:acme/courier", Scopes: []string{"github:read"},
		Issued: now, Expiry: now}}
	for _, c := range []struct {
		name string
		resp *obov1.RevokeResponse
		dry  bool
		says string // parts, by |
	}{
		{"a dry run", &obov1.RevokeResponse{Revocation: entry("agent"), Tokens: tokens, Total: 3}, true,
			"would revoke: agent|github:*|issued since|3 live tokens would be hit|j1|agent:acme/courier|and 2 older|disabled: true"},
		{"for real", &obov1.RevokeResponse{Revocation: entry("subject"), Tokens: tokens, Total: 1}, false, "revoked: subject|and its connections|1 live tokens were hit"},
		{"nothing", &obov1.RevokeResponse{Revocation: entry("client")}, true, "No live token is hit|disabled: true"},
		{"a connection", &obov1.RevokeResponse{Revocation: entry("connection")}, true, "Calls with the connection are refused"},
		{"no trail", &obov1.RevokeResponse{Revocation: entry("org"), Uncounted: true}, false, "not known|in force all the same"},
	} {
		var out bytes.Buffer
		a := &app{Printer: render.New(&out, false, true)}
		a.showRevoked(c.resp, c.dry)
		for part := range strings.SplitSeq(c.says, "|") {
			if !strings.Contains(out.String(), part) {
				t.Errorf("%s: %q is not in\n%s", c.name, part, out.String())
			}
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: a terminal would obey %q", c.name, out.String())
		}
	}
}
