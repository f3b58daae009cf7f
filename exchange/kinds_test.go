package exchange_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/jose"
)

// kinds are the typs of the JWTs that live in our neighbourhood, and none at all.
var kinds = []string{
	"at+jwt", "dpop+jwt", "txntoken+jwt", "oauth-id-jag+jwt", "secevent+jwt", "token-introspection+jwt", "statuslist+jwt", "wit+jwt",
	"wpt+jwt", "client-authentication+jwt", "actor-assertion+jwt", "JWT", "",
}

// place is where a JWT can be presented.
type place struct {
	name    string
	accepts []string                                   // typs
	make    func(t *testing.T, typ string) string      // right in everything but, perhaps, its typ
	present func(t *testing.T, token string) (ok bool) // whether it was taken
}

// confusion is a server whose own key signs whatever a test wants.
type confusion struct {
	*exchangetest.World
	issuer  *delegationtest.Issuer
	service *exchange.Service
	revoked *revokedIDs
	signals *signalled
}

// signalled is what was put into force.
type signalled struct{ signals []exchange.Signal }

func (s *signalled) Signal(_ context.Context, sig exchange.Signal) error {
	s.signals = append(s.signals, sig)
	return nil
}

type revokedIDs struct{ calls int }

func (r *revokedIDs) RevokeToken(context.Context, delegation.Verified, string) error {
	r.calls++
	return nil
}

func (r *revokedIDs) SignOut(context.Context, delegation.Administrator) error { return nil }

func confuse(t *testing.T) confusion {
	t.Helper()
	w := exchangetest.NewWorld(t)
	w.Listen(t, nil)
	c := confusion{World: w, issuer: delegationtest.NewIssuer(t), revoked: &revokedIDs{}, signals: &signalled{}}
	c.issuer.Now = w.Clock.Now
	cfg := w.Config()
	verifier, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: exchangetest.Issuer, AnyAudience: true, Keys: delegation.StaticKeys(c.issuer.Keys()), Revocations: w.Set, Now: w.Clock.Now, AcceptBound: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Tokens, cfg.Revoker, cfg.Signals = verifier, c.revoked, c.signals
	if c.service, err = exchange.New(cfg); err != nil {
		t.Fatal(err)
	}
	return c
}

// ours is a token of this server for the reporter, of any typ.
func (c confusion) ours(change func(map[string]any)) func(*testing.T, string) string {
	return func(t *testing.T, typ string) string {
		t.Helper()
		claims := c.issuer.Claims()
		claims.Audience, claims.ClientID, claims.Actor = exchangetest.Executor, c.Reporter.ClientID, delegationtest.Chain("acme", "reporter")
		claims.Scope, _ = delegation.ParseScopes("github:read")
		claims.Lineage, claims.Groups = nil, []string{"engineering"}
		payload, err := claims.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			members := map[string]any{}
			if err := jose.Decode(payload, &members); err != nil {
				t.Fatal(err)
			}
			change(members)
			if payload, err = jose.Encode(members); err != nil {
				t.Fatal(err)
			}
		}
		return c.issuer.Sign(t, typ, payload)
	}
}

func typed(typ string) func(exchangetest.Claims) {
	return func(c exchangetest.Claims) { c["!typ"] = typ }
}

// asks sends a request of the reporter, and reports whether it was granted.
func (c confusion) asks(t *testing.T, cred exchange.Credential, req exchange.Request) bool {
	t.Helper()
	_, err := c.service.Exchange(t.Context(), cred, req)
	if exchange.ReasonOf(err) == exchange.Internal || exchange.ReasonOf(err) == exchange.DependencyUnavailable {
		t.Fatalf("no answer: %v", err)
	}
	return err == nil
}

func (c confusion) login(t *testing.T) exchange.Request {
	t.Helper()
	return exchangetest.FirstHop(c.IDP.IDToken(t, "alice", nil), "github:read")
}

// subject presents a token as the subject_token.
func (c confusion) subject(tokenType string) func(*testing.T, string) bool {
	return func(t *testing.T, token string) bool {
		t.Helper()
		req := exchangetest.FirstHop(token, "github:read")
		if tokenType == exchange.TypeTxnToken {
			req = exchangetest.ForTransaction(token, tokenType, "github:read")
		}
		req.SubjectTokenType = tokenType
		return c.asks(t, c.Reporter.Credential(), req)
	}
}

// actor presents a token as the actor_token beside a good subject_token.
func (c confusion) actor(tokenType string) func(*testing.T, string) bool {
	return func(t *testing.T, token string) bool {
		t.Helper()
		req := exchangetest.Next(c.ours(nil)(t, delegation.TokenType), "github:read")
		req.ActorToken, req.ActorTokenType = token, tokenType
		return c.asks(t, c.Reporter.Credential(), req)
	}
}

func (c confusion) places() []place {
	toUs := c.ours(func(m map[string]any) { m["aud"] = exchangetest.Issuer })
	access, txn := c.ours(nil), c.ours(func(m map[string]any) { m["aud"], m["req_wl"] = exchangetest.TrustDomain, c.Reporter.ID })
	own := func(t *testing.T, typ string) string { return c.Reporter.Assertion(t, c.World, c.Reporter, typed(typ)) }
	login := func(t *testing.T, typ string) string { return c.IDP.IDToken(t, "alice", typed(typ)) }
	bearer := func(t *testing.T, assertion string) bool {
		return c.asks(t, c.Reporter.Credential(), exchangetest.Asserted(assertion, "github:read"))
	}
	return []place{
		{"subject_token access_token", []string{"at+jwt"}, access, c.subject(exchange.TypeAccessToken)},
		{"subject_token id_token", []string{"JWT", ""}, login, c.subject(exchange.TypeIDToken)},
		{"subject_token jwt", []string{"JWT", ""}, login, c.subject(exchange.TypeJWT)},
		{"subject_token txn_token", []string{"txntoken+jwt"}, txn, c.subject(exchange.TypeTxnToken)},
		{"actor_token jwt", []string{"actor-assertion+jwt", "JWT", ""}, own, c.actor(exchange.TypeJWT)},
		{"actor_token access_token", []string{"at+jwt"}, toUs, c.actor(exchange.TypeAccessToken)},
		{"client_assertion", []string{"client-authentication+jwt", "JWT", ""}, own, func(t *testing.T, token string) bool {
			return c.asks(t, exchange.Credential{Assertion: token, AssertionType: exchange.ClientAssertionType}, c.login(t))
		}},
		{"assertion", []string{"JWT", ""}, func(t *testing.T, typ string) string { return c.IDP.Assertion(t, "alice", typed(typ)) }, bearer},
		{"assertion ID-JAG", []string{"oauth-id-jag+jwt"}, func(t *testing.T, typ string) string {
			return c.IDP.IDJAG(t, "alice", c.Reporter, typed(typ))
		}, bearer},
		{"DPoP", []string{"dpop+jwt"}, c.proof, func(t *testing.T, token string) bool {
			cred := c.Reporter.Credential()
			cred.Proofs, cred.Method, cred.URI = []string{token}, exchangetest.TokenMethod, exchangetest.TokenURI
			return c.asks(t, cred, c.login(t))
		}},
		{"introspection", []string{"at+jwt"}, access, func(t *testing.T, token string) bool {
			got, err := c.service.Introspect(t.Context(), c.Reporter.Credential(), token, false)
			if err != nil {
				t.Fatal(err)
			}
			return got.Active
		}},
		{"revocation", []string{"at+jwt"}, access, func(t *testing.T, token string) bool {
			before := c.revoked.calls
			err := c.service.RevokeToken(t.Context(), c.Reporter.Credential(), token, "")
			if reason := exchange.ReasonOf(err); reason != "" && reason != exchange.UnsupportedTokenType {
				t.Fatal(err)
			}
			return c.revoked.calls > before
		}},
		{"security event", []string{"secevent+jwt"}, func(t *testing.T, typ string) string {
			return c.IDP.SET(t, exchangetest.SessionRevoked, "alice", typed(typ))
		}, c.event},
	}
}

// event presents a token as a security event.
func (c confusion) event(t *testing.T, token string) bool {
	t.Helper()
	err := c.service.TakeSignal(t.Context(), exchangetest.Acme, exchangetest.StreamName, token)
	if _, refused := errors.AsType[*signals.Refusal](err); err != nil && !refused {
		t.Fatalf("no answer: %v", err)
	}
	return err == nil
}

func (c confusion) proof(t *testing.T, typ string) string {
	t.Helper()
	return c.Reporter.Proof(t, c.World, exchangetest.TokenMethod, exchangetest.TokenURI, func(header, _ exchangetest.Claims) {
		header["typ"] = typ
		if typ == "" {
			header["typ"] = nil
		}
	})
}

// TestConfusionByType: JW4, JW5. At each place where we take a JWT, one that is right in everything is taken under the typs of
// its kind, and under no other.
func TestConfusionByType(t *testing.T) {
	t.Parallel()
	c := confuse(t)
	for _, p := range c.places() {
		t.Run("JW4 "+p.name, func(t *testing.T) {
			for _, typ := range kinds {
				want := slices.Contains(p.accepts, typ)
				if got := p.present(t, p.make(t, typ)); got != want {
					t.Errorf("typ %q: taken %v, want %v", typ, got, want)
				}
			}
		})
	}
}

// TestConfusionOfKinds: JW4. A genuine JWT of each kind is taken in the places of its kind, and nowhere else, whether or not its
// typ would tell.
func TestConfusionOfKinds(t *testing.T) {
	t.Parallel()
	c := confuse(t)
	places := c.places()
	genuine := func(name, typ string) func(*testing.T) string {
		i := slices.IndexFunc(places, func(p place) bool { return p.name == name })
		return func(t *testing.T) string { return places[i].make(t, typ) }
	}
	foreign := func(typ string) func(*testing.T) string {
		return func(t *testing.T) string {
			return c.IDP.IDToken(t, "alice", func(m exchangetest.Claims) {
				m["!typ"], m["jti"], m["events"], m["status_list"] = typ, rand.Text(), map[string]any{}, map[string]any{"bits": 1}
			})
		}
	}
	for _, k := range []struct {
		name  string
		make  func(*testing.T) string
		taken []string
	}{
		{"access token", genuine("introspection", "at+jwt"),
			[]string{"subject_token access_token", "introspection", "revocation"}},
		{"access token for the server itself", genuine("actor_token access_token", "at+jwt"),
			[]string{"subject_token access_token", "actor_token access_token", "introspection", "revocation"}},
		{"transaction token", genuine("subject_token txn_token", "txntoken+jwt"), []string{"subject_token txn_token"}},
		{"ID token", genuine("subject_token id_token", "JWT"), []string{"subject_token id_token", "subject_token jwt"}},
		{"assertion of an agent", genuine("actor_token jwt", "JWT"), []string{"actor_token jwt", "client_assertion"}},
		{"assertion for acting", genuine("actor_token jwt", "actor-assertion+jwt"), []string{"actor_token jwt"}},
		{"assertion for client authentication", genuine("client_assertion", "client-authentication+jwt"), []string{"client_assertion"}},
		{"assertion of an issuer", genuine("assertion", "JWT"), []string{"assertion", "assertion ID-JAG"}}, // two names of one parameter
		{"ID-JAG", genuine("assertion ID-JAG", "oauth-id-jag+jwt"), []string{"assertion", "assertion ID-JAG"}},
		{"DPoP proof", genuine("DPoP", "dpop+jwt"), []string{"DPoP"}},
		{"signed introspection", c.answer, nil},
		{"security event", genuine("security event", "secevent+jwt"), []string{"security event"}},
		{"login that calls itself a security event", foreign("secevent+jwt"), nil}, // SS1
		{"status list", foreign("statuslist+jwt"), nil},
		{"WIT", foreign("wit+jwt"), nil},
		{"WPT", foreign("wpt+jwt"), nil},
	} {
		t.Run("JW4 "+k.name, func(t *testing.T) {
			for _, p := range places {
				want := slices.Contains(k.taken, p.name)
				if got := p.present(t, k.make(t)); got != want {
					t.Errorf("as %s: taken %v, want %v", p.name, got, want)
				}
			}
		})
	}
}

// answer is a signed introspection answer of this server about a live token.
func (c confusion) answer(t *testing.T) string {
	t.Helper()
	u, err := delegation.Introspection{
		Issuer: exchangetest.Issuer, Audience: c.Reporter.ClientID, IssuedAt: c.Clock.Now().Add(-time.Second), Members: []byte(`{"active":true}`),
	}.Unsigned()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := u.Payload()
	if err != nil {
		t.Fatal(err)
	}
	return c.issuer.Sign(t, u.Type(), payload)
}

// TestConfusionOfPlatforms: JW4, JW5, WI6. The same of what a platform signs, as a client's credential and as an actor_token.
func TestConfusionOfPlatforms(t *testing.T) {
	t.Parallel()
	k8s, spire := newCluster(t), newSpire(t)
	for _, p := range []struct {
		name  string
		world *exchangetest.World
		make  func(*testing.T, string) string
		cred  func(string) exchange.Credential
	}{
		{"workload token", k8s.w, func(t *testing.T, typ string) string { return k8s.token(t, k8s.key, typ, nil) }, k8s.credential},
		{"JWT-SVID", spire.w, func(t *testing.T, typ string) string {
			header := map[gojose.HeaderKey]any{}
			if typ != "" {
				header["typ"] = typ
			}
			return spire.svid(t, gojose.ES256, header, nil)
		}, spire.credential},
	} {
		t.Run("JW4 "+p.name, func(t *testing.T) {
			t.Parallel()
			w := p.world
			for _, typ := range kinds {
				want := typ == "JWT" || typ == ""
				_, err := w.Service.Exchange(t.Context(), p.cred(p.make(t, typ)), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
				if (err == nil) != want {
					t.Errorf("client_assertion of typ %q: %v", typ, err)
				}
				req := exchangetest.Next(w.Token(t, w.Orchestrator, "github:read", nil), "github:read")
				req.ActorToken, req.ActorTokenType = p.make(t, typ), exchange.TypeJWT
				if _, err = w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), req); (err == nil) != want {
					t.Errorf("actor_token of typ %q: %v", typ, err)
				}
				for _, label := range []string{exchange.TypeAccessToken, exchange.TypeIDToken, exchange.TypeJWT} {
					req := exchangetest.FirstHop(p.make(t, typ), "github:read")
					req.SubjectTokenType = label
					if _, err = w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), req); err == nil {
						t.Errorf("subject_token of typ %q is taken as %s", typ, label)
					}
				}
			}
		})
	}
}
