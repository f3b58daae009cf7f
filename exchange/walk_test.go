package exchange_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
)

// held is a token that the walk got, with what it was made from.
type held struct {
	token  string
	claims delegation.Claims
	parent *held
}

// TestWalk: over random walks of exchanges, by any agent on any token that is about, with proofs, keys and details of all kinds,
// no token is wider than its parent in any dimension (TX22, TX23, RA3), the org and the subject never change (TX24), the chain
// grows by at most one and keeps its tail (ACT3, ACT8), what was bound stays bound and to whom ACT9 says, and every token has
// its record.
func TestWalk(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	issued := map[string]bool{}
	rapid.Check(t, func(r *rapid.T) {
		var tokens []*held
		for range rapid.IntRange(2, 10).Draw(r, "steps") {
			client := draw(r, w, "client")
			var parent *held
			var req exchange.Request
			if len(tokens) == 0 || rapid.IntRange(0, 4).Draw(r, "kind") == 0 {
				req = exchangetest.FirstHop(w.IDP.IDToken(t, rapid.SampledFrom([]string{"alice", "bob"}).Draw(r, "user"), nil), "")
			} else {
				parent = rapid.SampledFrom(tokens).Draw(r, "parent")
				req = exchangetest.Next(parent.token, "")
			}
			actor := ask(t, r, w, client, &req)
			cred := client.Credential()
			prover := prove(t, r, w, &cred)
			got, err := w.Service.Exchange(context.Background(), cred, req)
			if err != nil {
				if _, ok := errors.AsType[*exchange.Error](err); !ok || exchange.ReasonOf(err) == exchange.Internal {
					r.Fatalf("%v", err)
				}
				continue
			}
			h := &held{token: got.AccessToken, claims: w.Claims(t, got.AccessToken), parent: parent}
			checkStep(r, h, client, req, got)
			checkBinding(t, r, h, actor, prover)
			checkDetails(r, h, req, got)
			issued[h.claims.ID] = true
			tokens = append(tokens, h)
		}
	})
	for _, org := range []delegation.OrgID{exchangetest.Acme, exchangetest.Globex} {
		for _, record := range w.Records(t, org) {
			if record.Outcome == audit.OutcomeApproved {
				delete(issued, record.TokenID)
			}
		}
	}
	if len(issued) > 0 {
		t.Errorf("%d tokens have no record", len(issued))
	}
}

func draw(r *rapid.T, w *exchangetest.World, label string) exchangetest.Agent {
	return rapid.SampledFrom([]exchangetest.Agent{w.Orchestrator, w.Orchestrator, w.Researcher, w.Courier, w.Guarded, w.Stranger}).Draw(r, label)
}

// ask fills a request with whatever an agent might ask for, and answers with who is to act.
func ask(t *testing.T, r *rapid.T, w *exchangetest.World, client exchangetest.Agent, req *exchange.Request) exchangetest.Agent {
	req.Scope = rapid.SampledFrom([]string{"", "", "github:read", "github:read github:write", "github:admin"}).Draw(r, "scope")
	req.RequestedExpiresIn = rapid.SampledFrom([]int{0, 1, 30, 600, 100_000}).Draw(r, "life")
	req.Resource = []string{rapid.SampledFrom([]string{exchangetest.Executor, exchangetest.Executor, exchangetest.Reports}).Draw(r, "resource")}
	req.AuthorizationDetails = drawDetails(r)
	switch rapid.IntRange(0, 3).Draw(r, "actor") {
	case 0, 1:
		to := draw(r, w, "to")
		key := rapid.SampledFrom([]string{"", "jkt"}).Draw(r, "key")
		req.ActorToken, req.ActorTokenType = to.Assertion(t, w, to, func(c exchangetest.Claims) {
			if key != "" {
				c["cnf"] = exchangetest.Claims{key: to.JKT(t)}
			}
		}), exchange.TypeJWT
		return to
	case 2:
		req.MayAct = draw(r, w, "may_act").ClientID
	}
	return client
}

// prove adds a proof by whoever has a key, or none, and answers with the thumbprint of the key.
func prove(t *testing.T, r *rapid.T, w *exchangetest.World, cred *exchange.Credential) string {
	if rapid.IntRange(0, 3).Draw(r, "no proof") == 0 {
		return ""
	}
	who := draw(r, w, "prover")
	if rapid.IntRange(0, 3).Draw(r, "own proof") > 0 {
		for _, a := range []exchangetest.Agent{w.Orchestrator, w.Researcher, w.Courier, w.Guarded, w.Stranger} {
			if a.ClientID == cred.ClientID {
				who = a
			}
		}
	}
	cred.Method, cred.URI = exchangetest.TokenMethod, exchangetest.TokenURI
	cred.Proofs = []string{who.Proof(t, w, cred.Method, cred.URI, nil)}
	return who.JKT(t)
}

// pay is a detail of the type payment.
type pay struct {
	Type       string   `json:"type"`
	Amount     int      `json:"amount"`
	Currency   string   `json:"currency"`
	Recipients []string `json:"recipients,omitempty"`
	Locations  []string `json:"locations,omitempty"`
}

func drawDetails(r *rapid.T) string {
	var list []pay
	for range rapid.IntRange(0, 2).Draw(r, "details") {
		list = append(list, pay{
			Type: "payment", Amount: rapid.IntRange(0, 1100).Draw(r, "amount"), Currency: rapid.SampledFrom([]string{"EUR", "EUR", "USD"}).Draw(r, "currency"),
			Recipients: rapid.SampledFrom([][]string{nil, {"a"}, {"a", "b"}}).Draw(r, "recipients"),
			Locations:  rapid.SampledFrom([][]string{nil, nil, {exchangetest.Executor}, {exchangetest.Reports}}).Draw(r, "locations"),
		})
	}
	if len(list) == 0 {
		return ""
	}
	data, _ := json.Marshal(list)
	return string(data)
}

// checkBinding: ACT9, DP5.
func checkBinding(t *testing.T, r *rapid.T, h *held, actor exchangetest.Agent, proven string) {
	key := h.claims.Confirmation
	if h.parent != nil && h.parent.claims.Confirmation != nil {
		parent := h.parent.claims.Confirmation
		if key == nil || parent.JKT != proven {
			r.Fatalf("bound to %+v, proven %q, and the child has %+v", parent, proven, key)
		}
		if h.claims.Chain()[0] == h.parent.claims.Chain()[0] && len(h.claims.Chain()) == len(h.parent.claims.Chain()) && *key != *parent {
			r.Fatalf("the same actor, and another key: %+v from %+v", key, parent)
		}
	}
	switch own := actor.Key.Key().Thumbprint(); {
	case key == nil && (proven != "" || actor.Name == "guarded"):
		r.Fatalf("not bound, with the proof of %q", proven)
	case key != nil && key.JKT != proven && key.JKT != actor.JKT(t) && key.JKT != own:
		r.Fatalf("bound to %+v: neither proven nor the actor's", key)
	case key != nil && actor.ClientID != h.claims.ClientID && key.JKT != actor.JKT(t) && key.JKT != own:
		r.Fatalf("handed over to %s, and bound to %+v", actor.Name, key)
	}
}

// checkDetails: RA3, RA5, RA6, by another reading of the details than the server's own.
func checkDetails(r *rapid.T, h *held, req exchange.Request, got exchange.Response) {
	if got.AuthorizationDetails != string(h.claims.AuthorizationDetails) {
		r.Fatalf("answered %q, issued %q", got.AuthorizationDetails, h.claims.AuthorizationDetails)
	}
	child := read(r, got.AuthorizationDetails)
	wider := read(r, req.AuthorizationDetails)
	if h.parent != nil {
		checkWithin(r, child, read(r, string(h.parent.claims.AuthorizationDetails)))
	} else {
		checkWithin(r, child, wider)
	}
	if len(wider) > 0 {
		checkWithin(r, child, wider)
	}
	for _, d := range child {
		if len(d.Locations) > 0 && !slices.Contains(d.Locations, h.claims.Audience) {
			r.Fatalf("details for %q in a token for %s", d.Locations, h.claims.Audience)
		}
		if d.Amount > 1000 || d.Amount > 500 && h.claims.Chain()[0] == "agent:acme/researcher" {
			r.Fatalf("policy allowed %d", d.Amount)
		}
	}
}

func read(r *rapid.T, details string) (list []pay) {
	if details != "" {
		if err := json.Unmarshal([]byte(details), &list); err != nil {
			r.Fatalf("%q: %v", details, err)
		}
	}
	return list
}

// checkWithin: each detail is within one of the wider ones alone.
func checkWithin(r *rapid.T, child, wider []pay) {
	subset := func(a, b []string) bool {
		return len(b) == 0 || len(a) > 0 && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
	}
	for _, c := range child {
		if !slices.ContainsFunc(wider, func(p pay) bool {
			return c.Amount <= p.Amount && c.Currency == p.Currency && subset(c.Recipients, p.Recipients) && subset(c.Locations, p.Locations)
		}) {
			r.Fatalf("%+v is within none of %+v", c, wider)
		}
	}
}

func checkStep(r *rapid.T, h *held, client exchangetest.Agent, req exchange.Request, got exchange.Response) {
	c := h.claims
	if c.OrgID != client.Org || c.ClientID != client.ClientID || got.Scope != c.Scope.String() || got.ExpiresIn < 1 || c.Scope.Empty() {
		r.Fatalf("answer %+v for claims %+v", got, c)
	}
	if c.Depth() > delegation.DefaultDepth || c.Expiry.Sub(c.IssuedAt) > 15*time.Minute {
		r.Fatalf("depth %d, life %s", c.Depth(), c.Expiry.Sub(c.IssuedAt))
	}
	if req.Scope != "" && got.Scope != req.Scope {
		r.Fatalf("asked %q, got %q", req.Scope, got.Scope)
	}
	if h.parent == nil {
		if c.Depth() != 1 || len(c.Lineage) != 0 || c.Chain()[0] != client.ID {
			r.Fatalf("a first hop with chain %q, lineage %q", c.Chain(), c.Lineage)
		}
		return
	}
	p := h.parent.claims
	switch {
	case c.OrgID != p.OrgID, c.Subject != p.Subject, c.Transaction != p.Transaction:
		r.Fatalf("org, subject or transaction changed: %+v from %+v", c, p)
	case !c.Scope.SubsetOf(p.Scope), c.Expiry.After(p.Expiry):
		r.Fatalf("wider: %s until %s from %s until %s", c.Scope, c.Expiry, p.Scope, p.Expiry)
	case !slices.Equal(c.Lineage, append(slices.Clone(p.Lineage), p.ID)):
		r.Fatalf("lineage %q from %q", c.Lineage, p.Lineage)
	case c.ACR != p.ACR, !slices.Equal(c.AMR, p.AMR), !c.AuthTime.Equal(p.AuthTime), c.SessionID != p.SessionID, !slices.Equal(c.Groups, p.Groups):
		r.Fatalf("what the issuer said changed: %+v from %+v", c, p) // TX21
	}
	mine, theirs := strings.Join(c.Chain(), " "), strings.Join(p.Chain(), " ")
	if mine != theirs && mine != c.Chain()[0]+" "+theirs { // ACT3, ACT8
		r.Fatalf("chain %q from %q", mine, theirs)
	}
	if m := p.MayAct; m != nil && m.Subject != c.Chain()[0] { // TX17
		r.Fatalf("may_act named %s, %s acts", m.Subject, c.Chain()[0])
	}
	if p.Chain()[0] != client.ID && (p.MayAct == nil || p.MayAct.Subject != client.ID) { // only the holder, or whom it named
		r.Fatalf("%s used a token of %s", client.ID, p.Chain()[0])
	}
}
