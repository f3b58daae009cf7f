package admin_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
)

func TestRevoke(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	for _, c := range []struct{ kind, id, want string }{
		{"agent", "courier", "agent:acme/courier"}, {"agent", "agent:acme/courier", "agent:acme/courier"}, {"client", "acme.courier", "acme.courier"},
		{"subject", "user:acme/okta|alice", "user:acme/okta|alice"}, {"session", "s\u00e9ance 1", "s\u00e9ance 1"}, {"token", "abc", "abc"},
		{"transaction", "abc", "abc"}, {"connection", "github-alice", "github-alice"}, {"org", "acme", "acme"},
		{"subject", "service:acme/reporting", "service:acme/reporting"}, {"subject", "service:globex/reporting", ""},
		{"subject", "workload:acme/ci|repo:x", "workload:acme/ci|repo:x"}, // of an administrator's token
		{"subject", "workload:globex/ci|repo:x", ""}, {"subject", "workload:acme", ""},
		{"agent", "agent:globex/assistant", ""}, {"client", "globex.assistant", ""}, {"subject", "user:globex/okta|alice", ""}, {"org", "globex", ""},
		{"agent", "", ""}, {"agent", "No Name", ""}, {"token", "a\nb", ""}, {"session", "a\nb", ""}, {"everything", "x", ""},
	} {
		got, err := s.Revoke(t.Context(), admin.RevokeRequest{Org: "acme", Kind: c.kind, ID: c.id, Reason: "a test"})
		switch {
		case c.want == "" && !errors.Is(err, admin.ErrInvalid):
			t.Errorf("%s %q: got %v", c.kind, c.id, err)
		case c.want != "" && (err != nil || got.ID != c.want || got.Sequence == 0 || got.Before.Before(w.Clock.Now())):
			t.Errorf("%s %q: got %+v, %v", c.kind, c.id, got, err)
		}
	}
	if _, err := s.Revoke(t.Context(), admin.RevokeRequest{Org: "acme", Kind: "token", ID: "x", Reason: strings.Repeat("x", 257)}); !errors.Is(err, admin.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	entries, err := s.ListRevocations(t.Context(), "acme", 0, 100)
	if err != nil || len(entries) < 8 || !slices.IsSortedFunc(entries, func(a, b store.Revocation) int { return int(a.Sequence) - int(b.Sequence) }) {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if len(w.Records(t, "acme")) != 11 {
		t.Errorf("%d records", len(w.Records(t, "acme")))
	}
}

// TestRevokedWorkloadAdministrator: a stolen token of a workload that administers ends with its subject, and nobody else's does.
func TestRevokedWorkloadAdministrator(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	now := w.Clock.Now()
	token := func(subject string) string {
		u, err := delegation.Administrator{
			Issuer: exchangetest.Issuer, Subject: subject, OrgID: "acme", Role: policy.RoleOrgAdmin, ID: strings.ReplaceAll(subject[9:14], "/", "-"),
			IssuedAt: now, Expiry: now.Add(10 * time.Minute), SubjectIssuedAt: now,
		}.Unsigned()
		if err != nil {
			t.Fatal(err)
		}
		signed, err := w.Ring.Sign(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	stolen, other := token("workload:acme/ci|repo:x"), token("workload:acme/ci|repo:y")
	if _, err := s.Revoke(t.Context(), admin.RevokeRequest{Org: "acme", Kind: "subject", ID: "workload:acme/ci|repo:x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Verifier.VerifyAdministrator(t.Context(), stolen); !errors.Is(err, delegation.ErrRevoked) {
		t.Errorf("the stolen token: %v", err)
	}
	if _, err := w.Verifier.VerifyAdministrator(t.Context(), other); err != nil {
		t.Errorf("another workload's: %v", err)
	}
}

// TestRevokedOperator: an operator's token ends with its subject, which belongs to no org; nothing else can be revoked without one.
func TestRevokedOperator(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	stolen, other := operatorToken(t, w, "operator:corp|root", "op-1"), operatorToken(t, w, "operator:corp|eve", "op-2")
	got, err := s.Revoke(t.Context(), admin.RevokeRequest{Org: store.PlatformOrg, Kind: "subject", ID: "operator:corp|root"})
	if err != nil || got.Sequence == 0 {
		t.Fatal(got, err)
	}
	if _, err := w.Verifier.VerifyAdministrator(t.Context(), stolen); !errors.Is(err, delegation.ErrRevoked) {
		t.Errorf("the stolen token: %v", err)
	}
	if _, err := w.Verifier.VerifyAdministrator(t.Context(), other); err != nil {
		t.Errorf("another operator's: %v", err)
	}
	if r := w.Records(t, store.PlatformOrg); len(r) != 1 || r[0].Resource != "revocations" || r[0].Administrator != "operator:credential" {
		t.Errorf("records %+v", r)
	}
	for name, req := range map[string]admin.RevokeRequest{
		"a user of no org":        {Org: store.PlatformOrg, Kind: "subject", ID: "user:acme/okta|00u1"},
		"a workload of no org":    {Org: store.PlatformOrg, Kind: "subject", ID: "workload:acme/ci|x"},
		"an operator of an org":   {Org: "acme", Kind: "subject", ID: "operator:corp|root"},
		"a name without a sub":    {Org: store.PlatformOrg, Kind: "subject", ID: "operator:corp|"},
		"a name without a bar":    {Org: store.PlatformOrg, Kind: "subject", ID: "operator:credential"},
		"the platform as an org":  {Org: store.PlatformOrg, Kind: "org", ID: string(store.PlatformOrg)},
		"a token of no org":       {Org: store.PlatformOrg, Kind: "token", ID: "op-2"},
		"an agent of no org":      {Org: store.PlatformOrg, Kind: "agent", ID: "agent:acme/researcher"},
		"a key, which is rotated": {Org: store.PlatformOrg, Kind: "key", ID: "k"},
	} {
		if _, err := s.Revoke(t.Context(), req); !errors.Is(err, admin.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func operatorToken(t *testing.T, w *exchangetest.World, subject, id string) string {
	t.Helper()
	now := w.Clock.Now()
	u, err := delegation.Administrator{
		Issuer: exchangetest.Issuer, Subject: subject, OrgID: store.PlatformOrg, Role: policy.RoleOperator, ID: id,
		IssuedAt: now, Expiry: now.Add(10 * time.Minute), SubjectIssuedAt: now,
	}.Unsigned()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := w.Ring.Sign(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestSignOut: a token that is given up is refused when the call returns, is on the trail, and takes none with it of the same person.
// What is done with a token has its id on the trail.
func TestSignOut(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	given, kept := operatorToken(t, w, "operator:corp|root", "op-1"), operatorToken(t, w, "operator:corp|root", "op-2")
	who, err := w.Verifier.VerifyAdministrator(t.Context(), given)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SignOut(t.Context(), who); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Verifier.VerifyAdministrator(t.Context(), given); !errors.Is(err, delegation.ErrRevoked) {
		t.Errorf("signed out, and %v", err)
	}
	if _, err := w.Verifier.VerifyAdministrator(t.Context(), kept); err != nil {
		t.Errorf("another token of the same person: %v", err)
	}
	r := w.Records(t, store.PlatformOrg)
	if len(r) != 1 || r[0].TokenID != "op-1" || r[0].Transaction != "op-1" || r[0].Resource != "sign-out" || r[0].Administrator != "operator:corp|root" {
		t.Errorf("records %+v", r)
	}
}

// TestRevocationOutlivesLogins: no login from before the revocation of an agent is good for longer than the entry is kept.
func TestRevocationOutlivesLogins(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	login := w.IDP.IDToken(t, "alice", func(c exchangetest.Claims) { c["exp"] = w.Clock.Now().Add(72 * time.Hour).Unix() })
	if _, err := s.Revoke(t.Context(), admin.RevokeRequest{Org: "acme", Kind: "agent", ID: "orchestrator"}); err != nil {
		t.Fatal(err)
	}
	for range 15 {
		_, err := w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop(login, "github:read"))
		if got := exchange.ReasonOf(err); got != exchange.SubjectTokenInvalid {
			t.Fatalf("at %s: got %q", w.Clock.Now(), got)
		}
		w.Advance(t, 2*time.Hour)
		w.Set.Expire(w.Clock.Now())
	}
	if w.Set.Len() != 0 {
		t.Error("the entry is kept for ever")
	}
}

// TestRevokeToken: RV6. A client gives its token up: in force on this replica when the call returns, for as long as any token of
// the tree can live, and on the trail with who did it.
func TestRevokeToken(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	token := w.Token(t, w.Orchestrator, "github:read", nil)
	v := verified(t, w, token)
	if err := s.RevokeToken(t.Context(), v, w.Orchestrator.ClientID); err != nil {
		t.Fatal(err)
	}
	if w.Alive(token) {
		t.Error("it lives")
	}
	entries, err := s.ListRevocations(t.Context(), "acme", 0, 100)
	if err != nil || len(entries) != 1 || entries[0].Kind != "token" || entries[0].ID != v.ID() || entries[0].Until.Before(w.Clock.Now().Add(time.Hour)) {
		t.Errorf("%+v, %v", entries, err)
	}
	r := w.Records(t, "acme")
	if len(r) != 1 || r[0].Kind != audit.KindAdmin || r[0].ClientID != w.Orchestrator.ClientID || r[0].TokenID != v.ID() || strings.Contains(r[0].Detail, token) {
		t.Errorf("%+v", r)
	}
}

func verified(t *testing.T, w *exchangetest.World, token string) delegation.Verified {
	t.Helper()
	v, err := w.Verifier.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
