package delegation_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation"
)

func TestOrgID(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "acme", "a-b", "7", "a--b", strings.Repeat("a", 63)} {
		if id, err := delegation.ParseOrgID(good); err != nil || string(id) != good {
			t.Errorf("%q: %q, %v", good, id, err)
		}
	}
	for _, bad := range []string{
		"", "-", "-a", "a-", "Acme", "a_b", "_platform", "a.b", "a/b", "a b", "ä", "a\n", strings.Repeat("a", 64),
	} {
		if _, err := delegation.ParseOrgID(bad); !errors.Is(err, delegation.ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestIdentifiersSplit: what is put together comes apart the same way, and what was not put together does not (CA9).
func TestIdentifiersSplit(t *testing.T) {
	t.Parallel()
	org, name, err := delegation.ParseAgentID(delegation.AgentID("acme", "researcher"))
	if org != "acme" || name != "researcher" || err != nil {
		t.Errorf("agent: %s, %s, %v", org, name, err)
	}
	org, name, err = delegation.ParseClientID(delegation.ClientID("acme", "researcher"))
	if org != "acme" || name != "researcher" || err != nil {
		t.Errorf("client: %s, %s, %v", org, name, err)
	}
	org, name, err = delegation.ParseServiceID(delegation.ServiceID("acme", "reporting"))
	if org != "acme" || name != "reporting" || err != nil {
		t.Errorf("service: %s, %s, %v", org, name, err)
	}
	for _, sub := range []string{"00u1", "auth0|5f7c", "a/b|c", "CN=John Doe, O=Acme", "user:globex/okta|x", strings.Repeat("s", 255)} {
		id, err := delegation.UserID("acme", "okta", sub)
		if err != nil {
			t.Fatal(err)
		}
		org, issuer, back, err := delegation.ParseUserID(id)
		if org != "acme" || issuer != "okta" || back != sub || err != nil {
			t.Errorf("%q: %s, %s, %q, %v", id, org, issuer, back, err)
		}
	}
	for _, sub := range []string{"", "a\n", "a\x00", "ä", "\x7f", strings.Repeat("s", 256)} {
		if id, err := delegation.UserID("acme", "okta", sub); !errors.Is(err, delegation.ErrMalformed) {
			t.Errorf("sub %q: %q, %v", sub, id, err)
		}
	}
	if _, err := delegation.UserID("acme/x", "okta", "s"); err == nil {
		t.Error("a slash in an org")
	}
	if _, err := delegation.UserID("acme", "ok|ta", "s"); err == nil {
		t.Error("a bar in an issuer")
	}
}

func TestIdentifiersRefuse(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "agent:", "agent:acme", "agent:acme/", "agent:/x", "agent:acme/a/b", "Agent:acme/x", "user:acme/x", "acme/x",
		"agent:ACME/x", "agent:acme/X", "agent:acme/x ", "agent:acme/x\n", "agent:agent:acme/x", "agent:acme/" + strings.Repeat("x", 64),
	} {
		if _, _, err := delegation.ParseAgentID(bad); !errors.Is(err, delegation.ErrMalformed) {
			t.Errorf("agent %q: %v", bad, err)
		}
	}
	for _, bad := range []string{
		"", "service:", "service:acme", "service:acme/", "service:/x", "service:acme/a/b", "Service:acme/x", "agent:acme/x", "acme/x",
		"service:ACME/x", "service:acme/X", "service:acme/x\n", "service:service:acme/x", "service:acme/okta|x", "user:acme/service|x",
	} {
		if _, _, err := delegation.ParseServiceID(bad); !errors.Is(err, delegation.ErrMalformed) {
			t.Errorf("service %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", ".", "acme", "acme.", ".x", "acme.a.b", "acme/x", "ACME.x", "acme.x\n", "agent:acme.x"} {
		if _, _, err := delegation.ParseClientID(bad); !errors.Is(err, delegation.ErrMalformed) {
			t.Errorf("client %q: %v", bad, err)
		}
	}
	for _, bad := range []string{
		"", "user:", "user:acme", "user:acme/okta", "user:acme/okta|", "user:/okta|x", "user:acme/|x", "agent:acme/okta|x",
		"user:acme|okta/x", "user:Acme/okta|x", "user:acme/okta|\n", "alice",
	} {
		if _, _, _, err := delegation.ParseUserID(bad); !errors.Is(err, delegation.ErrMalformed) {
			t.Errorf("user %q: %v", bad, err)
		}
	}
}
