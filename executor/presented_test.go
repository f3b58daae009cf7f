package executor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/store/storetest"
)

// agent is a caller with a key and a certificate.
type agent struct {
	t      *testing.T
	prover *dpop.Prover
	cert   *x509.Certificate
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	must(t, err)
	prover, err := dpop.NewProver(key, time.Now)
	must(t, err)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, own.Public(), own)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &agent{t: t, prover: prover, cert: cert}
}

// proof is one for a call with a token.
func (a *agent) proof(token, nonce string) string {
	a.t.Helper()
	proof, err := a.prover.Proof("POST", callURI, nonce, token)
	must(a.t, err)
	return proof
}

// presents sends a token as DPoP with a fresh proof.
func (a *agent) presents(token string) executor.Presented {
	return executor.Presented{Scheme: "DPoP", Token: token, Method: "POST", URI: callURI, Proofs: []string{a.proof(token, "")}}
}

// byKey and byCertificate bind a token to the agent.
func (a *agent) byKey(c *delegation.Claims) {
	c.Confirmation = &delegation.Confirmation{JKT: a.prover.Thumbprint()}
}

func (a *agent) byCertificate(c *delegation.Claims) {
	c.Confirmation = &delegation.Confirmation{X5T: delegation.CertificateThumbprint(a.cert)}
}

func unbound(*delegation.Claims) {}

// TestPossession: what a token is bound to must be proven for this very request, and a stolen token is on record.
func TestPossession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	own, thief := newAgent(t), newAgent(t)
	for _, c := range []struct {
		name    string
		bound   func(*delegation.Claims)
		present func(token string) executor.Presented
		reason  executor.Reason // empty: the call is made
		says    string
	}{
		{name: "EX5 DP6 the key", bound: own.byKey, present: own.presents},
		{name: "EX5 DP6 a scheme in another case", bound: own.byKey, present: func(token string) executor.Presented {
			p := own.presents(token)
			p.Scheme = "dpop"
			return p
		}},
		{name: "EX5 DP6 as a bearer token", bound: own.byKey, present: bearer, reason: executor.InvalidToken, says: "bound to a key"},
		{name: "EX5 DP6 as a bearer token with a proof", bound: own.byKey, present: func(token string) executor.Presented {
			p := own.presents(token)
			p.Scheme = "Bearer"
			return p
		}, reason: executor.InvalidToken},
		{name: "EX5 DP6 another key", bound: own.byKey, present: thief.presents, reason: executor.InvalidToken, says: "not bound to the key"},
		{name: "EX5 DP6 a proof for a token that is bound to nothing", bound: unbound, present: own.presents, reason: executor.InvalidToken},
		{name: "EX5 DP6 a proof for a token that is bound to a certificate", bound: own.byCertificate, present: own.presents, reason: executor.InvalidToken},
		{name: "EX5 DP6 no proof", bound: own.byKey, present: func(token string) executor.Presented {
			p := own.presents(token)
			p.Proofs = nil
			return p
		}, reason: executor.InvalidProof},
		{name: "DP6 two proofs", bound: own.byKey, present: func(token string) executor.Presented {
			p := own.presents(token)
			p.Proofs = append(p.Proofs, own.proof(token, ""))
			return p
		}, reason: executor.InvalidProof},
		{name: "DP6 a proof for another token", bound: own.byKey, present: func(token string) executor.Presented {
			p := own.presents(token)
			p.Proofs = []string{own.proof(token+"x", "")}
			return p
		}, reason: executor.InvalidProof},
		{name: "DP10 a proof for another method of ours", bound: own.byKey, present: func(token string) executor.Presented {
			p := own.presents(token)
			p.URI = "https://executor.test/obo.v1.ExecutorService/ListTools"
			return p
		}, reason: executor.InvalidProof},
		{name: "DP10 a proof at a door that does not know its name", bound: own.byKey, present: func(token string) executor.Presented {
			p := own.presents(token)
			p.URI = ""
			return p
		}, reason: executor.InvalidProof},
		{name: "DP3 an old proof", bound: own.byKey, present: func(token string) executor.Presented {
			return own.at(time.Now().Add(-5 * time.Minute)).presents(token)
		}, reason: executor.InvalidProof},
		{name: "DP3 a proof from the future", bound: own.byKey, present: func(token string) executor.Presented {
			return own.at(time.Now().Add(5 * time.Minute)).presents(token)
		}, reason: executor.InvalidProof},
		{name: "EX5 MT2 the certificate", bound: own.byCertificate, present: own.withCertificate},
		{name: "EX5 MT2 another certificate", bound: own.byCertificate, present: thief.withCertificate, reason: executor.InvalidToken, says: "certificate"},
		{name: "EX5 MT2 no certificate", bound: own.byCertificate, present: bearer, reason: executor.InvalidToken},
		{name: "MT2 a certificate behind the leaf", bound: own.byCertificate, present: func(token string) executor.Presented {
			p := thief.withCertificate(token)
			p.Certificates = append(p.Certificates, own.cert)
			return p
		}, reason: executor.InvalidToken},
		{name: "MT2 a certificate that means nothing", bound: unbound, present: own.withCertificate},
		{name: "EX5 a key and a certificate that means nothing", bound: own.byKey, present: func(token string) executor.Presented {
			p := own.presents(token)
			p.Certificates = []*x509.Certificate{thief.cert}
			return p
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, calls := len(r.trail(t, "acme")), len(r.calls())
			got, err := r.service.Execute(t.Context(), c.present(r.token(t, "tracker:write", c.bound)),
				executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
			trail := r.trail(t, "acme")[before:]
			if c.reason == "" {
				if err != nil || got.Result == nil || len(trail) != 2 || len(r.calls()) != calls+1 {
					t.Errorf("%+v %v", got, err)
				}
				return
			}
			var refused *executor.Error
			if !errors.As(err, &refused) || refused.Reason != c.reason || !strings.Contains(refused.Description, c.says) {
				t.Fatalf("%v, want %s saying %q", err, c.reason, c.says)
			}
			if len(r.calls()) != calls {
				t.Error("the provider was called")
			}
			if len(trail) != 1 || trail[0].Outcome != audit.OutcomeRefused || trail[0].Reason != string(c.reason) ||
				trail[0].ActionID != refused.ActionID || trail[0].TokenID == "" {
				t.Errorf("EX10: records %+v", trail)
			}
		})
	}
}

// at is the agent with another clock.
func (a *agent) at(now time.Time) *agent {
	a.t.Helper()
	key, err := jose.Generate(jose.ES256)
	must(a.t, err)
	prover, err := dpop.NewProver(key, func() time.Time { return now })
	must(a.t, err)
	return &agent{t: a.t, prover: prover, cert: a.cert}
}

// withCertificate sends a token over a connection with the agent's certificate.
func (a *agent) withCertificate(token string) executor.Presented {
	p := bearer(token)
	p.Certificates = []*x509.Certificate{a.cert}
	return p
}

// TestBadTokenWithAGoodProof: nobody is known, so nothing is recorded and no proof is used up: strangers cannot fill the store.
func TestBadTokenWithAGoodProof(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	own := newAgent(t)
	consumed := 0
	r.faults(func(c storetest.Call) storetest.Fault {
		if c.Method == "Consume" {
			consumed++
		}
		return storetest.Fault{}
	})
	for name, change := range map[string]func(*delegation.Claims){
		"EX2 another executor": func(c *delegation.Claims) { c.Audience = "https://other.test" },
		"EX3 FA4 expired": func(c *delegation.Claims) {
			c.IssuedAt, c.Expiry = time.Now().Add(-time.Hour), time.Now().Add(-30*time.Minute)
		},
	} {
		token := r.token(t, "tracker:write", own.byKey, change)
		_, err := r.service.Execute(t.Context(), own.presents(token), executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
		if refused, ok := errors.AsType[*executor.Error](err); !ok || refused.Reason != executor.InvalidToken {
			t.Errorf("%s: %v", name, err)
		}
	}
	token := r.token(t, "tracker:write", own.byKey)
	r.set.Add(revocation.New("acme", revocation.Agent, "agent:acme/researcher", "", time.Now().Add(time.Second), time.Hour))
	_, err := r.service.ListTools(t.Context(), own.presents(token))
	if refused, ok := errors.AsType[*executor.Error](err); !ok || refused.Reason != executor.InvalidToken || !strings.Contains(refused.Description, "revoked") {
		t.Errorf("EX4 FA4 revoked: %v", err)
	}
	if trail := r.trail(t, "acme"); len(trail) != 0 || consumed != 0 {
		t.Errorf("%d proofs used up, records %+v", consumed, trail)
	}
}

// TestKinds: EX1. Only an access token that the issuer signed with its own key is one.
func TestKinds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.token(t, "tracker:write")
	message, err := jose.Parse(good)
	must(t, err)
	payload, err := message.Verify(r.issuer.Signer().Key())
	must(t, err)
	tokens := map[string]string{"EX1 another issuer's key": delegationtest.NewIssuer(t).Sign(t, delegation.TokenType, payload)}
	for _, typ := range []string{
		"JWT", "", "dpop+jwt", "txntoken+jwt", "oauth-id-jag+jwt", "secevent+jwt", "token-introspection+jwt", "client-authentication+jwt", "statuslist+jwt",
	} {
		tokens["EX1 typ "+typ] = r.issuer.Sign(t, typ, payload)
	}
	tokens["EX1 alg none"] = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0Iiwia2lkIjoiayJ9." + strings.Split(good, ".")[1] + "."
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			_, err := r.execute(t.Context(), token, executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
			if refused, ok := errors.AsType[*executor.Error](err); !ok || refused.Reason != executor.InvalidToken {
				t.Errorf("got %v", err)
			}
		})
	}
	if len(r.calls()) != 0 || len(r.trail(t, "acme")) != 0 {
		t.Errorf("%d calls, records %+v", len(r.calls()), r.trail(t, "acme"))
	}
}

// TestReplay: DP3. One proof is good for one request, at whichever replica and door it is shown.
func TestReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	own := newAgent(t)
	other := r.replica(t)
	token := r.token(t, "tracker:write", own.byKey)
	p := own.presents(token)
	if got, err := r.service.Execute(t.Context(), p, executor.Request{Tool: "tracker.create", Arguments: []byte(create)}); err != nil || got.Result == nil {
		t.Fatalf("%+v %v", got, err)
	}
	request := executor.Request{Tool: "tracker.create", Arguments: []byte(create)}
	for name, at := range map[string]*rig{"DP3 at the same replica": r, "DP3 at another replica": other} {
		t.Run(name, func(t *testing.T) {
			for call, f := range map[string]func() error{
				"Execute":   func() error { _, err := at.service.Execute(t.Context(), p, request); return err },
				"ListTools": func() error { _, err := at.service.ListTools(t.Context(), p); return err },
				"Admit":     func() error { _, _, err := at.service.Admit(t.Context(), p); return err },
			} {
				refused, ok := errors.AsType[*executor.Error](f())
				if !ok || refused.Reason != executor.InvalidProof || !strings.Contains(refused.Description, "used before") {
					t.Errorf("%s: %v", call, refused)
				}
			}
		})
	}
	if len(r.calls()) != 1 {
		t.Errorf("the provider was called %d times", len(r.calls()))
	}
	if trail := r.trail(t, "acme"); trail[len(trail)-1].Reason != string(executor.InvalidProof) {
		t.Errorf("the replay is not on record: %+v", trail)
	}
	if _, err := other.service.ListTools(t.Context(), own.presents(token)); err != nil {
		t.Errorf("another proof at another replica: %v", err)
	}
}

// replica is another executor on the same database.
func (r *rig) replica(t *testing.T) *rig {
	t.Helper()
	other := &rig{issuer: r.issuer, log: r.log, dir: r.dir, set: r.set, nonces: r.nonces}
	var err error
	other.db, err = sqlite.OpenExecutor(t.Context(), filepath.Join(r.dir, "executor.db"))
	must(t, err)
	t.Cleanup(func() { other.db.Close() })
	other.build(t)
	other.permit(t, "acme", fmt.Sprintf(record, "http://127.0.0.1:1"))
	return other
}

// TestProofFaults: when it cannot be known whether a proof was used, it counts as used.
func TestProofFaults(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("DP3 EX4 the store fails, after it wrote: %t", after), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			own := newAgent(t)
			p := own.presents(r.token(t, "tracker:write", own.byKey))
			request := executor.Request{Tool: "tracker.create", Arguments: []byte(create)}
			r.faults(nth("Consume", 1, after))
			_, err := r.service.Execute(t.Context(), p, request)
			refused, ok := errors.AsType[*executor.Error](err)
			if !ok || refused.Reason != executor.DependencyUnavailable || refused.RetryAfter == 0 {
				t.Fatalf("got %v", err)
			}
			trail := r.trail(t, "acme")
			if len(r.calls()) != 0 || len(trail) != 1 || trail[0].Outcome != audit.OutcomeRefused {
				t.Errorf("%d calls, records %+v", len(r.calls()), trail)
			}
			got, err := r.service.Execute(t.Context(), p, request)
			if refused, ok = errors.AsType[*executor.Error](err); after != (ok && refused.Reason == executor.InvalidProof) {
				t.Errorf("the same proof again: %+v %v", got, err)
			}
			if got, err := r.service.Execute(t.Context(), own.presents(p.Token), request); err != nil || got.Result == nil {
				t.Errorf("a fresh proof: %+v %v", got, err)
			}
		})
	}
}

// TestPresentedDoesNotPrint: EX10. Tokens and proofs stay out of every log.
func TestPresentedDoesNotPrint(t *testing.T) {
	t.Parallel()
	p := executor.Presented{Scheme: "DPoP", Token: canary, Proofs: []string{canary}, URI: callURI}
	if text := fmt.Sprintf("%v %+v %#v %s", p, p, p, p.LogValue()); strings.Contains(text, canary) {
		t.Errorf("printed: %s", text)
	}
}
