package exchange_test

import (
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

func withCredential(t *testing.T, w *exchangetest.World, cred exchange.Credential) exchange.Reason {
	t.Helper()
	_, err := w.Service.Exchange(t.Context(), cred, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	return exchange.ReasonOf(err)
}

// TestCredentialsAtOdds: what some doors cannot even carry.
func TestCredentialsAtOdds(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	both := w.Orchestrator.AssertionCredential(t, w, nil)
	both.Secret = telemetry.Secret(w.Orchestrator.Secret)
	want(t, withCredential(t, w, both), exchange.InvalidClient) // TE11, RFC 7521 §4.2.1
	other := w.Orchestrator.AssertionCredential(t, w, nil)
	other.ClientID = w.Researcher.ClientID
	want(t, withCredential(t, w, other), exchange.InvalidClient) // CA6
	same := w.Orchestrator.AssertionCredential(t, w, nil)
	same.ClientID = w.Orchestrator.ClientID
	want(t, withCredential(t, w, same), "") // CA6
	want(t, withCredential(t, w, exchange.Credential{ClientID: w.Orchestrator.ClientID, Secret: telemetry.Secret(strings.Repeat("x", 1<<20))}), exchange.InvalidClient)
}

// TestForgerUsesUpNothing: a jti is consumed only after the signature was verified, so nobody can use up another's assertion.
func TestForgerUsesUpNothing(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	thief := w.Orchestrator
	thief.Key = w.Researcher.Key
	same := func(c exchangetest.Claims) { c["jti"] = "the-same" }
	want(t, withCredential(t, w, thief.AssertionCredential(t, w, same)), exchange.InvalidClient)
	want(t, withCredential(t, w, w.Orchestrator.AssertionCredential(t, w, same)), "")
	want(t, withCredential(t, w, w.Orchestrator.AssertionCredential(t, w, same)), exchange.InvalidClient)
	// A jti belongs to its signer: another agent may have the same.
	_, err := w.Service.Exchange(t.Context(), w.Researcher.AssertionCredential(t, w, same), exchange.Request{})
	want(t, exchange.ReasonOf(err), exchange.InvalidRequest)
}

// TestSingleUseOutlivesTheService: what was used stays used for another replica on the same store.
func TestSingleUseOutlivesTheService(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	cred := w.Orchestrator.AssertionCredential(t, w, nil)
	want(t, withCredential(t, w, cred), "")
	another, err := exchange.New(w.Config())
	if err != nil {
		t.Fatal(err)
	}
	_, err = another.Exchange(t.Context(), cred, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	want(t, exchange.ReasonOf(err), exchange.InvalidClient)
}

// TestTwoLiveSecrets: the newest secret and the one before it work, and no older one.
func TestTwoLiveSecrets(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	put := func(secret string) {
		w.Advance(t, time.Second)
		s := store.ClientSecret{Agent: "orchestrator", Hash: sha256.Sum256([]byte(secret)), Created: w.Clock.Now()}
		if err := w.Store.Org("acme").PutClientSecret(t.Context(), s, registry.MaxSecrets); err != nil {
			t.Fatal(err)
		}
		w.Advance(t, 0)
	}
	works := func(secret string) exchange.Reason {
		return withCredential(t, w, exchange.Credential{ClientID: w.Orchestrator.ClientID, Secret: telemetry.Secret(secret)})
	}
	want(t, works(w.Orchestrator.Secret), "")
	put("second")
	want(t, works(w.Orchestrator.Secret), "")
	want(t, works("second"), "")
	put("third")
	want(t, works(w.Orchestrator.Secret), exchange.InvalidClient)
	want(t, works("second"), "")
	want(t, works("third"), "")
	want(t, works(""), exchange.InvalidClient)
}

// TestAgentWithoutSecret: an agent that has no secret has no secret that works, the empty hash included.
func TestAgentWithoutSecret(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		d.Agents = append(d.Agents, registry.Agent{Name: "keyed", Scopes: []string{"github:read"}, JWKS: jose.NewKeySet(w.Courier.Key.Key()).JSON()})
	})
	want(t, withCredential(t, w, exchange.Credential{ClientID: "acme.keyed", Secret: "x"}), exchange.InvalidClient)
	want(t, withCredential(t, w, exchange.Credential{ClientID: "acme.keyed", Secret: telemetry.Secret(strings.Repeat("\x00", 32))}), exchange.InvalidClient)
}

// TestTokenEndpointAudience: CA4, the token endpoint's URL is an audience only for an agent that is registered for it, and only
// of a client assertion.
func TestTokenEndpointAudience(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	aud := func(value any) func(exchangetest.Claims) {
		return func(c exchangetest.Claims) { c["aud"] = value }
	}
	with := func(value any) exchange.Reason {
		return withCredential(t, w, w.Orchestrator.AssertionCredential(t, w, aud(value)))
	}
	const endpoint = exchangetest.Issuer + "/token"
	want(t, with(endpoint), exchange.InvalidClient)
	change(t, w, func(_ *registry.Document, a *registry.Agent) { a.TokenEndpointAudience = true })
	want(t, with(endpoint), "")
	want(t, with(exchangetest.Issuer), "")
	want(t, with([]string{exchangetest.Issuer, endpoint}), exchange.InvalidClient)
	want(t, with(endpoint+"/"), exchange.InvalidClient)
	want(t, with(""), exchange.InvalidClient)
	r := exchangetest.Next(w.Token(t, w.Orchestrator, "github:read", nil), "github:read")
	r.ActorToken, r.ActorTokenType = w.Orchestrator.Assertion(t, w, w.Researcher, aud(endpoint)), exchange.TypeJWT
	want(t, reason(t, w, w.Orchestrator, r), exchange.ActorTokenInvalid)
}

// TestFAPIClients: FA1, FA6, an org under the FAPI profile knows no client secret and no RS256, and says so to who has proven
// to be the client.
func TestFAPIClients(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	rsa := newSigner(t, "rsa", jose.RS256)
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		for i := range d.Agents {
			if d.Agents[i].Name == "courier" {
				d.Agents[i].JWKS = jose.NewKeySet(w.Courier.Key.Key(), rsa.Key()).JSON()
			}
		}
	})
	doc := orgDocument(t, w)
	doc.Profile = registry.ProfileFAPI
	doc.Issuers[0].Algorithms = nil
	force(t, w, doc) // an RS256 key: refused by Validate, and here all the same
	said := func(cred exchange.Credential) (exchange.Reason, string) {
		_, err := w.Service.Exchange(t.Context(), cred, exchange.Request{})
		e, ok := errors.AsType[*exchange.Error](err)
		if !ok {
			t.Fatal(err)
		}
		return e.Reason, e.Description
	}
	for name, c := range map[string]struct {
		cred exchange.Credential
		want exchange.Reason
		text string
	}{
		"FA1 the right secret": {w.Orchestrator.Credential(), exchange.InvalidClient, "FAPI"},
		"FA1 a wrong secret":   {exchange.Credential{ClientID: w.Orchestrator.ClientID, Secret: "wrong"}, exchange.InvalidClient, "not known"},
		"FA6 ES256":            {w.Orchestrator.AssertionCredential(t, w, nil), exchange.InvalidRequest, ""},
		"FA6 RS256":            {keyed(w.Courier, rsa).AssertionCredential(t, w, nil), exchange.InvalidClient, "PS256"},
	} {
		t.Run(name, func(t *testing.T) {
			got, text := said(c.cred)
			want(t, got, c.want)
			if !strings.Contains(text, c.text) {
				t.Errorf("said %q", text)
			}
		})
	}
}

func keyed(a exchangetest.Agent, key jose.Signer) exchangetest.Agent {
	a.Key = key
	return a
}

func orgDocument(t *testing.T, w *exchangetest.World) registry.Document {
	t.Helper()
	stored, err := w.Store.Org(exchangetest.Acme).Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := registry.Parse(stored.Document)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// force puts a document into force that Validate would refuse.
func force(t *testing.T, w *exchangetest.World, doc registry.Document) {
	t.Helper()
	data, err := jose.Encode(doc)
	if err != nil {
		t.Fatal(err)
	}
	own := w.Store.Org(doc.Org)
	old, err := own.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := own.PutConfig(t.Context(), store.OrgConfig{Org: doc.Org, Version: old.Version + 1, Document: data, Created: w.Clock.Now()}); err != nil {
		t.Fatal(err)
	}
	w.Advance(t, 0)
}

// TestStrangersLearnNothing: TE9, whoever has proven nothing hears the same, whether or not there is such a client, and
// whatever it is registered with.
func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	s := newSpire(t)
	w := s.w
	nobody := exchangetest.Agent{Org: exchangetest.Acme, Name: "nobody", ClientID: "acme.nobody", Key: w.Stranger.Key}
	svid := s.credential(signSVID(t, newECKey(t, elliptic.P256()), gojose.ES256, map[gojose.HeaderKey]any{"kid": "ES256"}, map[string]any{
		"sub": spiffeID, "aud": exchangetest.Issuer, "exp": w.Clock.Now().Add(time.Minute).Unix(),
	}))
	leaf := newAuthority(t, "a stranger").svidLeaf(t, spiffeID, nil)
	as := func(cred exchange.Credential, clientID string) exchange.Credential {
		cred.ClientID = clientID
		return cred
	}
	foreign := exchange.Credential{Assertion: w.IDP.IDToken(t, "alice", nil)}
	for name, cred := range map[string]exchange.Credential{
		"TE9 a wrong secret":                 {ClientID: w.Orchestrator.ClientID, Secret: "wrong"},
		"TE9 a secret of nobody":             {ClientID: "acme.nobody", Secret: "wrong"},
		"TE9 a secret of no org":             {ClientID: "nowhere.nobody", Secret: "wrong"},
		"TE9 the right secret of a disabled": w.Retired.Credential(),
		"TE9 an assertion of nobody":         nobody.AssertionCredential(t, w, nil),
		"TE9 an assertion by a wrong key":    keyed(w.Orchestrator, w.Stranger.Key).AssertionCredential(t, w, nil),
		"TE9 an assertion by a forged key": keyed(w.Orchestrator, newSigner(t, w.Orchestrator.Key.Key().KeyID(), jose.ES256)).
			AssertionCredential(t, w, nil),
		"TE9 a forged SVID":                                            svid,
		"TE9 a forged SVID of nobody":                                  as(svid, "acme.nobody"),
		"TE9 a forged SVID at an org without trust domains":            as(svid, w.Stranger.ClientID),
		"TE9 a stranger's certificate":                                 byCertificates(w, leaf),
		"TE9 a stranger's certificate at nobody":                       as(byCertificates(w, leaf), "acme.nobody"),
		"TE9 a stranger's certificate at another":                      as(byCertificates(w, leaf), w.Courier.ClientID),
		"TE9 a token of an issuer that is none of workloads":           as(foreign, w.Orchestrator.ClientID),
		"TE9 a token of an issuer that is none of workloads at nobody": as(foreign, "acme.nobody"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := w.Service.Exchange(t.Context(), cred, exchange.Request{})
			e, ok := errors.AsType[*exchange.Error](err)
			if !ok || e.Reason != exchange.InvalidClient || e.Description != "the client is not known or its credential is wrong" || e.Field != "" {
				t.Errorf("got %+v", err)
			}
		})
	}
}

// TestKeyIDIsOpaque: JW6, a kid is looked up and nothing else.
func TestKeyIDIsOpaque(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for _, kid := range []string{"../../key-of-orchestrator", "' OR 1=1 --", "https://keys.test/1", "$(id)"} {
		want(t, withCredential(t, w, keyed(w.Orchestrator, newSigner(t, kid, jose.ES256)).AssertionCredential(t, w, nil)), exchange.InvalidClient)
	}
	now := w.Clock.Now()
	for name, header := range map[string]map[gojose.HeaderKey]any{
		"JW6 jku":          {"jku": "https://keys.test"},
		"JW6 x5u":          {"x5u": "https://keys.test"},
		"JW6 jwk":          {"jwk": map[string]string{"kty": "EC"}},
		"JW6 10 kB of kid": {"kid": strings.Repeat("k", 10_000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := signSVID(t, newECKey(t, elliptic.P256()), gojose.ES256, header, map[string]any{
				"iss": w.Orchestrator.ClientID, "sub": w.Orchestrator.ClientID, "aud": exchangetest.Issuer, "jti": name, "exp": now.Add(time.Minute).Unix(),
			})
			want(t, withCredential(t, w, exchange.Credential{Assertion: token}), exchange.InvalidClient)
		})
	}
}
