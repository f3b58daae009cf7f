package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
)

// TestRevocations runs the table of wishes without a door: RV1 to RV4, RV6.
func TestRevocations(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewInquiryWorld(t)
	for _, c := range exchangetest.Revocations() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			cred, token := c.Build(t, w)
			err := w.Service.RevokeToken(t.Context(), cred, token, "refresh_token") // RV3: a wrong hint
			checkReason(t, err, c.Want, c.Field)
			if alive := w.Alive(token); alive != c.Active {
				t.Errorf("alive afterwards: %v", alive)
			}
		})
	}
}

// TestRevocationCascade: RV7. Four hops and a fan-out die with the token that they came from; what it came from lives, and so
// does its other child.
func TestRevocationCascade(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewInquiryWorld(t)
	root := w.Exchange(t, w.Orchestrator, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")).AccessToken
	hop := func(from exchangetest.Agent, token string, to exchangetest.Agent) string {
		return w.Exchange(t, from, w.HandOver(t, token, "", to)).AccessToken
	}
	spared := hop(w.Orchestrator, root, w.Researcher)
	second := hop(w.Orchestrator, root, w.Researcher)
	third := hop(w.Researcher, second, w.Courier)
	fourth := hop(w.Courier, third, w.Researcher)
	var below []string
	for range 3 {
		below = append(below, hop(w.Researcher, second, w.Courier), hop(w.Researcher, fourth, w.Courier))
	}
	if err := w.Service.RevokeToken(t.Context(), w.Orchestrator.Credential(), second, ""); err != nil {
		t.Fatal(err)
	}
	for i, token := range append(below, second, third, fourth) {
		if w.Alive(token) {
			t.Errorf("token %d lives", i)
		}
	}
	if !w.Alive(root) || !w.Alive(spared) {
		t.Error("a token that was not derived from it died")
	}
	if _, err := w.Service.Exchange(t.Context(), w.Researcher.Credential(), w.HandOver(t, second, "", w.Courier)); exchange.ReasonOf(err) != exchange.SubjectTokenInvalid {
		t.Errorf("a dead token is exchanged: %v", err)
	}
}

// TestRevocationRecord: who gave which token up is on the trail, once.
func TestRevocationRecord(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewInquiryWorld(t)
	token := w.Token(t, w.Orchestrator, "github:read", nil)
	claims := w.Claims(t, token)
	for range 2 { // RV1: the second time it is dead, which is no error
		if err := w.Service.RevokeToken(t.Context(), w.Orchestrator.Credential(), token, ""); err != nil {
			t.Fatal(err)
		}
	}
	all := w.Records(t, exchangetest.Acme)
	if len(all) != 1 {
		t.Fatalf("%d records", len(all))
	}
	r := all[0]
	if r.Kind != audit.KindAdmin || r.TokenID != claims.ID || r.Transaction != claims.Transaction || r.ClientID != w.Orchestrator.ClientID ||
		r.Subject != claims.Subject || fmt.Sprint(r.Chain) != fmt.Sprint(claims.Chain()) {
		t.Errorf("record %+v", r)
	}
}

type revoker struct{ err error }

func (r revoker) RevokeToken(context.Context, delegation.Verified, string) error { return r.err }

func (r revoker) SignOut(context.Context, delegation.Administrator) error { return r.err }

// TestRevocationFailsLoudly: RV5. A client that hears "done" forgets the token; it may hear it only when it is so.
func TestRevocationFailsLoudly(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	token := w.Token(t, w.Orchestrator, "github:read", nil)
	for _, c := range []struct {
		name    string
		revoker exchange.Revoker
		broken  string
		want    exchange.Reason
	}{
		{"RV5 it cannot be put into force", revoker{errors.New("canary")}, "", exchange.DependencyUnavailable},
		{"RV5 the token cannot be verified", revoker{}, "verification", exchange.DependencyUnavailable},
		{"RV4 no revocation here", nil, "", exchange.UnsupportedTokenType},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := w.Config()
			cfg.Revoker = c.revoker
			cfg.Tokens = faultyTokens{cfg.Tokens, fault{c.broken, "before"}}
			s, err := exchange.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			err = s.RevokeToken(t.Context(), w.Orchestrator.Credential(), token, "")
			if got := exchange.ReasonOf(err); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
