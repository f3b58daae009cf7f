package exchangetest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/jose"
)

// Audience is the orgs' client id at the identity provider.
const Audience = "obo-app"

// IDP is an OpenID Connect provider on loopback: a discovery document, a JWK set, and ID tokens for whoever is named.
type IDP struct {
	URL  string
	Key  jose.Signer
	Down atomic.Bool  // answers 503 to everything
	Hits atomic.Int64 // requests

	clock *Clock
	keys  atomic.Pointer[jose.KeySet]
	doc   atomic.Pointer[map[string]any]
}

func newIDP(t testing.TB, clock *Clock) *IDP {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	must(t, err)
	p := &IDP{clock: clock}
	p.Key, err = jose.NewSigner("idp-1", jose.ES256, key)
	must(t, err)
	server := httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(server.Close)
	p.URL = server.URL
	p.Publish(jose.NewKeySet(p.Key.Key()))
	p.Describe(map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
	return p
}

// Publish replaces the JWK set.
func (p *IDP) Publish(set jose.KeySet) { p.keys.Store(&set) }

// Describe replaces the discovery document.
func (p *IDP) Describe(doc map[string]any) { p.doc.Store(&doc) }

func (p *IDP) serve(w http.ResponseWriter, r *http.Request) {
	p.Hits.Add(1)
	switch {
	case p.Down.Load():
		http.Error(w, "away", http.StatusServiceUnavailable)
	case r.URL.Path == "/.well-known/openid-configuration":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(*p.doc.Load())
	case r.URL.Path == "/keys":
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(p.keys.Load().JSON())
	default:
		http.NotFound(w, r)
	}
}

// IDToken is an ID token of a user of acme who is in engineering, good for an hour, with what change makes of it. The claim
// "!typ" is the header's typ.
func (p *IDP) IDToken(t testing.TB, user string, change func(Claims)) string {
	t.Helper()
	return p.SignedBy(t, p.Key, user, change)
}

// SignedBy is IDToken signed with any key.
func (p *IDP) SignedBy(t testing.TB, key jose.Signer, user string, change func(Claims)) string {
	t.Helper()
	now := p.clock.Now()
	return sign(t, key, "JWT", Claims{
		"iss": p.URL, "sub": user, "aud": Audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "auth_time": now.Add(-time.Minute).Unix(),
		"acr": "urn:test:mfa", "amr": []string{"pwd", "otp"}, "sid": "session-of-" + user, "tenant": "acme", "groups": []string{"engineering", "staff"},
	}, change)
}
