package exchange_test

import (
	"context"
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

// TestWalk: over random walks of exchanges, by any agent on any token that is about, no token is wider than its parent in any
// dimension, the org and the subject never change, the chain grows by at most one and keeps its tail, and every token has its
// record.
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
			ask(t, r, w, &req)
			got, err := w.Service.Exchange(context.Background(), client.Credential(), req)
			if err != nil {
				if _, ok := errors.AsType[*exchange.Error](err); !ok || exchange.ReasonOf(err) == exchange.Internal {
					r.Fatalf("%v", err)
				}
				continue
			}
			h := &held{token: got.AccessToken, claims: w.Claims(t, got.AccessToken), parent: parent}
			checkStep(r, h, client, req, got)
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
	return rapid.SampledFrom([]exchangetest.Agent{w.Orchestrator, w.Researcher, w.Courier, w.Stranger}).Draw(r, label)
}

// ask fills a request with whatever an agent might ask for.
func ask(t *testing.T, r *rapid.T, w *exchangetest.World, req *exchange.Request) {
	req.Scope = rapid.SampledFrom([]string{"", "", "github:read", "github:read github:write", "github:admin"}).Draw(r, "scope")
	req.RequestedExpiresIn = rapid.SampledFrom([]int{0, 1, 30, 600, 100_000}).Draw(r, "life")
	req.Resource = []string{rapid.SampledFrom([]string{exchangetest.Executor, exchangetest.Reports}).Draw(r, "resource")}
	switch rapid.IntRange(0, 3).Draw(r, "actor") {
	case 0, 1:
		to := draw(r, w, "to")
		req.ActorToken, req.ActorTokenType = to.Assertion(t, w, to, nil), exchange.TypeJWT
	case 2:
		req.MayAct = draw(r, w, "may_act").ClientID
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
