package exchange_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/telemetry"
)

// service is another replica of the world's Service, with what change makes of its Config.
func service(t *testing.T, w *exchangetest.World, change func(*exchange.Config)) *exchange.Service {
	t.Helper()
	cfg := w.Config()
	change(&cfg)
	s, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// proven is the orchestrator's credential with a proof that change spoils.
func proven(t *testing.T, w *exchangetest.World, change func(header, claims exchangetest.Claims)) exchange.Credential {
	t.Helper()
	cred := w.Orchestrator.Credential()
	cred.Method, cred.URI = exchangetest.TokenMethod, exchangetest.TokenURI
	cred.Proofs = []string{w.Orchestrator.Proof(t, w, cred.Method, cred.URI, change)}
	return cred
}

// firstHop is the orchestrator's first hop of alice by a credential.
func firstHop(t *testing.T, w *exchangetest.World, s *exchange.Service, cred exchange.Credential) (exchange.Response, *exchange.Error) {
	t.Helper()
	r, err := s.Exchange(t.Context(), cred, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	e, ok := errors.AsType[*exchange.Error](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	return r, e
}

// TestNonces: DP4. A server with nonces asks for one, takes its own for as long as it lives, hands out the next with a success,
// and takes none that is another's.
func TestNonces(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	key, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	nonces := dpop.NewNonces(key, "as", time.Minute)
	with := func(cfg *exchange.Config) { cfg.Nonces = nonces }
	s, replica := service(t, w, with), service(t, w, with)
	nonce := func(value any) func(_, c exchangetest.Claims) {
		return func(_, c exchangetest.Claims) { c["nonce"] = value }
	}
	_, refused := firstHop(t, w, s, proven(t, w, nil))
	if refused == nil || refused.Reason != exchange.UseNonce || refused.Nonce == "" || refused.Field != "" || refused.ActionID != "" {
		t.Fatalf("DP4 without a nonce: got %+v", refused)
	}
	answer, refused := firstHop(t, w, replica, proven(t, w, nonce(refused.Nonce)))
	if refused != nil || answer.TokenType != "DPoP" || answer.Nonce == "" {
		t.Fatalf("DP4 with the nonce of another replica: got %+v, %v", answer, refused)
	}
	other, err := dpop.NewNonces(key, "rs", time.Minute).Issue(w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	old := answer.Nonce
	for _, c := range []struct {
		name  string
		nonce any
	}{
		{"DP4 a nonce of the resource server", other}, {"DP4 a nonce of nobody's", "made-up"}, {"DP4 an empty nonce", ""},
		{"DP4 a nonce that was given is asked for again", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, refused := firstHop(t, w, s, proven(t, w, nonce(c.nonce))); refused == nil || refused.Reason != exchange.UseNonce {
				t.Errorf("got %v", refused)
			}
		})
	}
	w.Advance(t, 2*time.Minute)
	if _, refused := firstHop(t, w, s, proven(t, w, nonce(old))); refused == nil || refused.Reason != exchange.UseNonce || refused.Nonce == old {
		t.Errorf("DP4 a nonce that has died: got %v", refused)
	}
	if answer, refused := firstHop(t, w, s, w.Orchestrator.Credential()); refused != nil || answer.Nonce != "" || answer.TokenType != "Bearer" {
		t.Errorf("without a proof no nonce is needed: got %+v, %v", answer, refused)
	}
}

// TestProofAlgorithms: DP1, FA6. A proof may be signed with RS256, and not where the org is held to the FAPI profile.
func TestProofAlgorithms(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for _, c := range []struct {
		name  string
		alg   jose.Algorithm
		agent exchangetest.Agent
		want  exchange.Reason
	}{
		{"DP1 RS256", jose.RS256, w.Orchestrator, ""}, {"DP1 EdDSA", jose.EdDSA, w.Orchestrator, ""}, {"DP1 PS256", jose.PS256, w.Orchestrator, ""},
		{"FA6 RS256", jose.RS256, w.Teller, exchange.InvalidProof}, {"FA6 EdDSA", jose.EdDSA, w.Teller, ""}, {"FA6 PS256", jose.PS256, w.Teller, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			payload, err := json.Marshal(exchangetest.Claims{
				"jti": rand.Text(), "htm": exchangetest.TokenMethod, "htu": exchangetest.TokenURI, "iat": w.Clock.Now().Unix(),
			})
			if err != nil {
				t.Fatal(err)
			}
			proof, err := newSigner(t, "proof", c.alg).SignProof(payload)
			if err != nil {
				t.Fatal(err)
			}
			cred := c.agent.AssertionCredential(t, w, nil)
			cred.Method, cred.URI, cred.Proofs = exchangetest.TokenMethod, exchangetest.TokenURI, []string{proof}
			login := w.IDP.IDToken(t, "alice", func(claims exchangetest.Claims) { claims["tenant"] = string(c.agent.Org) })
			_, err = w.Service.Exchange(t.Context(), cred, exchangetest.FirstHop(login, "github:read"))
			want(t, exchange.ReasonOf(err), c.want)
		})
	}
}

type brokenSealer struct{}

func (brokenSealer) Seal([]byte, []byte) ([]byte, error) { return nil, errFault }
func (brokenSealer) Open([]byte, []byte) ([]byte, error) { return nil, errFault }

// TestNoncesAway: DP4. When nonces cannot be made, proofs are not taken without.
func TestNoncesAway(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	s := service(t, w, func(cfg *exchange.Config) { cfg.Nonces = dpop.NewNonces(brokenSealer{}, "as", time.Minute) })
	if _, refused := firstHop(t, w, s, proven(t, w, nil)); refused == nil || refused.Reason != exchange.DependencyUnavailable {
		t.Errorf("got %v", refused)
	}
}

// TestProofOnTwoReplicas: DP3. What one replica took, no other takes.
func TestProofOnTwoReplicas(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	replica := service(t, w, func(*exchange.Config) {})
	cred := proven(t, w, nil)
	if _, refused := firstHop(t, w, w.Service, cred); refused != nil {
		t.Fatal(refused)
	}
	if _, refused := firstHop(t, w, replica, cred); refused == nil || refused.Reason != exchange.InvalidProof {
		t.Errorf("got %v", refused)
	}
}

// TestProofIsUsedUpByItsClientOnly: DP3. Neither who has no credential, nor a request that cannot be read, uses a proof up; and a
// jti belongs to its key.
func TestProofIsUsedUpByItsClientOnly(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	same := func(_, c exchangetest.Claims) { c["jti"] = "the-same" }
	cred := proven(t, w, same)
	stranger := cred
	stranger.Secret = telemetry.Secret("wrong")
	if _, refused := firstHop(t, w, w.Service, stranger); refused == nil || refused.Reason != exchange.InvalidClient {
		t.Fatalf("got %v", refused)
	}
	_, err := w.Service.Exchange(t.Context(), cred, exchange.Request{})
	want(t, exchange.ReasonOf(err), exchange.InvalidRequest)
	other := cred
	other.Proofs = []string{w.Courier.Proof(t, w, cred.Method, cred.URI, same)}
	if _, refused := firstHop(t, w, w.Service, other); refused != nil {
		t.Fatal(refused)
	}
	if _, refused := firstHop(t, w, w.Service, cred); refused != nil {
		t.Errorf("got %v", refused)
	}
}

// TestProofWithoutStore: DP3. While single use cannot be checked, no proof is taken; and who is gone is told nothing.
func TestProofWithoutStore(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	var signed []string
	s := broken(t, w, fault{"single use", "before"}, &signed)
	if _, refused := firstHop(t, w, s, proven(t, w, nil)); refused == nil || refused.Reason != exchange.DependencyUnavailable || len(signed) > 0 {
		t.Errorf("got %v", refused)
	}
	ctx, gone := context.WithCancel(t.Context())
	leave := service(t, w, func(cfg *exchange.Config) {
		cfg.Assertions = func(delegation.OrgID) exchange.Assertions { return leavingAssertions(gone) }
	})
	_, err := leave.Exchange(ctx, proven(t, w, nil), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), ""))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// leavingAssertions is a store in which the caller leaves.
type leavingAssertions func()

func (l leavingAssertions) Consume(context.Context, [32]byte, time.Time) error { l(); return errFault }

// TestBoundRecord: the trail says what a token was bound to, and what its details allow.
func TestBoundRecord(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
	req.AuthorizationDetails = `[{"type":"repository","name":"acme/"}]`
	if _, err := w.Service.Exchange(t.Context(), proven(t, w, nil), req); err != nil {
		t.Fatal(err)
	}
	r := last(t, w)
	for _, part := range []string{"first hop", "bound to key " + w.Orchestrator.JKT(t), req.AuthorizationDetails} {
		if !strings.Contains(r.Detail, part) {
			t.Errorf("%q lacks %q", r.Detail, part)
		}
	}
	if strings.Join(r.PolicyIDs, " ") != "org/details org/orchestrators" {
		t.Errorf("policies %q", r.PolicyIDs)
	}
}
