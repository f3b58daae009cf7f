package exchangetest

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange"
)

// proofRefusals are all the ways in which a DPoP proof can be wrong (RFC 9449 §4.3), and requests that need one.
func proofRefusals() []Case {
	header := func(change func(Claims)) func(testing.TB, *World, string, string) []string {
		return proves(orchestrator, func(h, _ Claims) { change(h) })
	}
	claims := func(change func(*World, Claims)) func(testing.TB, *World, string, string) []string {
		return func(t testing.TB, w *World, method, uri string) []string {
			return []string{w.Orchestrator.Proof(t, w, method, uri, func(_, c Claims) { change(w, c) })}
		}
	}
	raw := func(values ...string) func(testing.TB, *World, string, string) []string {
		return func(testing.TB, *World, string, string) []string { return values }
	}
	first := starts(orchestrator)
	cases := []Case{
		{Name: "DP1 two proofs", Build: first, Prove: func(t testing.TB, w *World, method, uri string) []string {
			return []string{w.Orchestrator.Proof(t, w, method, uri, nil), w.Orchestrator.Proof(t, w, method, uri, nil)}
		}},
		{Name: "DP1 two proofs in one value", Build: first, Prove: func(t testing.TB, w *World, method, uri string) []string {
			return []string{w.Orchestrator.Proof(t, w, method, uri, nil) + "," + w.Orchestrator.Proof(t, w, method, uri, nil)}
		}},
		{Name: "DP1 not a JWT", Build: first, Prove: raw("proof")},
		{Name: "DP1 typ is missing", Build: first, Prove: header(func(h Claims) { h["typ"] = nil })},
		{Name: "DP1 typ of another kind of JWT", Build: first, Prove: header(func(h Claims) { h["typ"] = "JWT" })},
		{Name: "DP1 alg none", Build: first, Prove: header(func(h Claims) { h["alg"] = "none" })},
		{Name: "DP1 alg symmetric", Build: first, Prove: header(func(h Claims) { h["alg"] = "HS256" })},
		{Name: "DP1 alg not the key's", Build: first, Prove: header(func(h Claims) { h["alg"] = "RS256" })},
		{Name: "DP1 jwk is missing", Build: first, Prove: header(func(h Claims) { h["jwk"] = nil })},
		{Name: "DP1 jwk with a private member", Build: first, Prove: header(func(h Claims) { h["jwk"].(Claims)["d"] = strings.Repeat("A", 43) })},
		{Name: "DP1 jwk of a symmetric key", Build: first, Prove: header(func(h Claims) { h["jwk"] = Claims{"kty": "oct", "k": "AAAA"} })},
		{Name: "DP1 signed by another key than the jwk", Build: first, Prove: func(t testing.TB, w *World, method, uri string) []string {
			return []string{w.Orchestrator.Proof(t, w, method, uri, func(h, _ Claims) { h["jwk"] = w.Courier.possession.jwk(t) })}
		}},
		{Name: "DP1 a spoilt signature", Build: first, Prove: func(t testing.TB, w *World, method, uri string) []string {
			return []string{spoil(w.Orchestrator.Proof(t, w, method, uri, nil))}
		}},
		{Name: "DP1 jti is missing", Build: first, Prove: claims(func(_ *World, c Claims) { c["jti"] = nil })},
		{Name: "DP3 jti beyond all size", Build: first, Prove: claims(func(_ *World, c Claims) { c["jti"] = strings.Repeat("a", 5000) })},
		{Name: "DP1 htm is missing", Build: first, Prove: claims(func(_ *World, c Claims) { c["htm"] = nil })},
		{Name: "DP2 htm of another method", Build: first, Prove: claims(func(_ *World, c Claims) { c["htm"] = "GET" })},
		{Name: "DP1 htu is missing", Build: first, Prove: claims(func(_ *World, c Claims) { c["htu"] = nil })},
		{Name: "DP2 htu of another path", Build: first, Prove: claims(func(_ *World, c Claims) { c["htu"] = c["htu"].(string) + "x" })},
		{Name: "DP2 htu of another server", Build: first, Prove: claims(func(_ *World, c Claims) { c["htu"] = "https://elsewhere.test/token" })},
		{Name: "DP1 iat is missing", Build: first, Prove: claims(func(_ *World, c Claims) { c["iat"] = nil })},
		{Name: "DP3 a proof of five minutes ago", Build: first, Prove: claims(func(w *World, c Claims) { c["iat"] = w.Clock.Now().Add(-5 * time.Minute).Unix() })},
		{Name: "DP3 a proof from the future", Build: first, Prove: claims(func(w *World, c Claims) { c["iat"] = w.Clock.Now().Add(5 * time.Minute).Unix() })},
		{Name: "DP3 the same proof twice", Build: first, Prove: func(t testing.TB, w *World, method, uri string) []string {
			return []string{used(t, w, w.Orchestrator.Proof(t, w, method, uri, nil), method, uri)}
		}},
		{Name: "DP3 another proof with a jti that was used", Build: first, Prove: func(t testing.TB, w *World, method, uri string) []string {
			same := rand.Text()
			proof := func(ago time.Duration) string {
				return w.Orchestrator.Proof(t, w, method, uri, func(_, c Claims) { c["jti"], c["iat"] = same, w.Clock.Now().Add(-ago).Unix() })
			}
			used(t, w, proof(0), method, uri)
			return []string{proof(time.Second)}
		}},
		{Name: "DP5 dpop_bound_access_tokens without a proof", Build: starts(guarded)},
		{Name: "DP5 dpop_bound_access_tokens with a certificate", Build: connected(guarded, starts(guarded))},
		{Name: "DP5 dpop_bound_access_tokens, delegation without a proof", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Guarded.Credential(), w.HandOver(t, w.Token(t, w.Guarded, "github:read", nil), "", w.Courier)
		}},
		{Name: "MT1 tls_client_certificate_bound_access_tokens without a certificate", Build: starts(pinned)},
		{Name: "FA1 neither a proof nor a certificate", Build: tells},
	}
	for i := range cases {
		cases[i].Want = exchange.InvalidProof
	}
	return cases
}

// used is a proof that went through once already.
func used(t testing.TB, w *World, proof, method, uri string) string {
	t.Helper()
	cred, req := starts(orchestrator)(t, w)
	cred.Proofs, cred.Method, cred.URI = []string{proof}, method, uri
	_, err := w.Service.Exchange(t.Context(), cred, req)
	must(t, err)
	return proof
}
