package exchange_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// last is the newest record of acme.
func last(t *testing.T, w *exchangetest.World) audit.Record {
	t.Helper()
	all := w.Records(t, exchangetest.Acme)
	if len(all) == 0 {
		t.Fatal("no record")
	}
	return all[len(all)-1]
}

// TestApprovalRecord: who, for whom, by which chain, for what, by which policies. EX10's list, at the mint.
func TestApprovalRecord(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	parent := w.Token(t, w.Orchestrator, "github:read github:write", nil)
	ctx := telemetry.WithTraceID(t.Context(), "0af7651916cd43dd8448eb211c80319c")
	got, err := w.Service.Exchange(ctx, w.Orchestrator.Credential(), w.HandOver(t, parent, "github:read", w.Researcher))
	if err != nil {
		t.Fatal(err)
	}
	c, r := w.Claims(t, got.AccessToken), last(t, w)
	r.Sequence = 0
	expected := audit.Record{
		ActionID: got.ActionID, Kind: audit.KindExchange, Outcome: audit.OutcomeApproved, Org: "acme", Time: w.Clock.Now(), Transaction: c.Transaction,
		TokenID: c.ID, Subject: "user:acme/okta|alice", Chain: []string{"agent:acme/researcher", "agent:acme/orchestrator"}, Lineage: c.Lineage,
		ClientID: "acme.orchestrator", Resource: exchangetest.Executor, ScopeAsked: []string{"github:read"}, ScopeGranted: []string{"github:read"},
		PolicyVersion: "1.0", PolicyIDs: []string{"org/workers-behind-somebody"}, TraceID: "0af7651916cd43dd8448eb211c80319c",
		Detail: "delegation, expires " + c.Expiry.Format(time.RFC3339),
		Expiry: c.Expiry, Began: c.SubjectIssuedAt, Session: c.SessionID,
	}
	if fmt.Sprintf("%+v", r) != fmt.Sprintf("%+v", expected) {
		t.Errorf("got  %+v\nwant %+v", r, expected)
	}
}

// TestRefusalRecord: a refusal is on the trail with its reason and the policies that refused, under an id that the caller gets.
func TestRefusalRecord(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	_, err := w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "payments:transfer"))
	e, ok := errors.AsType[*exchange.Error](err)
	r := last(t, w)
	if !ok || e.ActionID != r.ActionID || r.Outcome != audit.OutcomeRefused || r.Reason != "DELEGATION_DENIED" || r.TokenID != "" ||
		r.Subject != "user:acme/okta|alice" || r.Resource != exchangetest.Executor || len(r.ScopeGranted) != 0 ||
		!slices.Equal(r.PolicyIDs, []string{"org/no-transfers"}) || r.PolicyVersion != "1.0" || !strings.Contains(r.Detail, "payments:transfer") {
		t.Errorf("error %+v, record %+v", e, r)
	}
}

// TestRefusalOfRubbishIsRecorded: whatever an authenticated client sends, its refusal can be written.
func TestRefusalOfRubbishIsRecorded(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	rubbish := strings.Repeat("\x00\xff\"\\é", 100)
	for _, req := range []exchange.Request{
		{}, {SubjectToken: rubbish, SubjectTokenType: exchange.TypeJWT}, {SubjectToken: rubbish, SubjectTokenType: rubbish, Scope: rubbish},
		{SubjectToken: "x", SubjectTokenType: exchange.TypeJWT, Resource: []string{rubbish}, Audience: []string{rubbish}, MayAct: rubbish},
		{SubjectToken: "x", SubjectTokenType: exchange.TypeJWT, Audience: []string{strings.Repeat("a", 299)}},
	} {
		_, err := w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), req)
		e, ok := errors.AsType[*exchange.Error](err)
		if !ok || e.ActionID == "" || last(t, w).ActionID != e.ActionID {
			t.Errorf("%v: got %#v", req, err)
		}
	}
}

// TestNothingOfAnotherOrgEntersTheTrail: a token of another org is refused, and what is in it stays out of this org's records.
func TestNothingOfAnotherOrgEntersTheTrail(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	token := w.Token(t, w.Stranger, "github:read", nil)
	want(t, reason(t, w, w.Orchestrator, exchangetest.Next(token, "")), exchange.DelegationDenied)
	c, r := w.Claims(t, token), last(t, w)
	if text := fmt.Sprintf("%+v", r); strings.Contains(text, "globex") || strings.Contains(text, c.Transaction) || strings.Contains(text, c.ID) {
		t.Error(text)
	}
}

// TestStrangersAreLoggedNotRecorded: who does not authenticate belongs to no org; it is in the log, a bounded number of times.
func TestStrangersAreLoggedNotRecorded(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	var log bytes.Buffer
	cfg := w.Config()
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	s, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cred := exchange.Credential{ClientID: w.Orchestrator.ClientID, Secret: "a wrong secret", RemoteIP: netip.MustParseAddr("192.0.2.7")}
	for range 500 {
		_, err := s.Exchange(t.Context(), cred, exchange.Request{})
		want(t, exchange.ReasonOf(err), exchange.InvalidClient)
		cred.RemoteIP = cred.RemoteIP.Next() // or it would be told to slow down (TE15)
	}
	if n := strings.Count(log.String(), "\n"); n == 0 || n > 100 {
		t.Errorf("%d log lines", n)
	}
	if !strings.Contains(log.String(), "192.0.2.7") || strings.Contains(log.String(), "a wrong secret") {
		t.Error(log.String()[:200])
	}
	if n := len(w.Records(t, exchangetest.Acme)); n != 0 {
		t.Errorf("%d records", n)
	}
}

// TestRefusalFlood: an agent that asks for the same thing for ever fills no disk, and what was left out is counted.
func TestRefusalFlood(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for range 1100 {
		want(t, reason(t, w, w.Orchestrator, exchange.Request{}), exchange.InvalidRequest)
	}
	if n := len(w.Records(t, exchangetest.Acme)); n != 1000 {
		t.Errorf("%d records", n)
	}
	want(t, reason(t, w, w.Researcher, exchange.Request{}), exchange.InvalidRequest) // another client is not silenced
	w.Advance(t, time.Second)
	want(t, reason(t, w, w.Orchestrator, exchange.Request{}), exchange.InvalidRequest)
	if r := last(t, w); !strings.Contains(r.Detail, "100 refusals before this one were not recorded") {
		t.Error(r.Detail)
	}
}

// TestCanary: no secret and no token is in a log line, an error or a record, through the whole table, at debug level.
func TestCanary(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	var log bytes.Buffer
	cfg := w.Config()
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var canaries []string
	var said strings.Builder
	for _, c := range exchangetest.Cases() {
		cred, req := c.Build(t, w)
		if c.Prove != nil {
			cred.Method, cred.URI = exchangetest.TokenMethod, exchangetest.TokenURI
			cred.Proofs = c.Prove(t, w, cred.Method, cred.URI)
		}
		r, err := s.Exchange(t.Context(), cred, req)
		for _, secret := range append(cred.Proofs, cred.Secret.Reveal(), cred.Assertion, req.SubjectToken, req.ActorToken, req.Assertion, r.AccessToken) {
			if len(secret) > 20 {
				canaries = append(canaries, secret, secret[len(secret)-20:])
			}
		}
		fmt.Fprintf(&said, "%v %+v %#v %v %+v %#v %v %+v\n", cred, cred, cred, req, req, req, r, r)
		for ; err != nil; err = errors.Unwrap(err) {
			fmt.Fprintf(&said, "%v %+v\n", err, err)
		}
	}
	for _, org := range []exchangetest.Agent{w.Orchestrator, w.Stranger, w.Teller} {
		for _, r := range w.Records(t, org.Org) {
			data, err := jose.Encode(r)
			if err != nil {
				t.Fatal(err)
			}
			said.Write(data)
		}
	}
	said.Write(log.Bytes())
	for _, canary := range canaries {
		if i := strings.Index(said.String(), canary); i >= 0 {
			t.Fatalf("found %q in ...%s", canary, said.String()[max(0, i-100):i])
		}
	}
}
