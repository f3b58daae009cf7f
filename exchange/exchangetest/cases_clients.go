package exchangetest

import (
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/jose"
)

// clientCases are the ways of client authentication that every door can carry: whose assertion it is, and of what kind.
func clientCases() []Case {
	by := func(cred func(testing.TB, *World) exchange.Credential) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return cred(t, w), FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
		}
	}
	assertion := func(clientID func(*World) string, change func(*World, Claims)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return by(func(t testing.TB, w *World) exchange.Credential {
			cred := w.Orchestrator.AssertionCredential(t, w, func(c Claims) { change(w, c) })
			cred.ClientID = clientID(w)
			return cred
		})
	}
	nobody := func(*World) string { return "" }
	itself := func(w *World) string { return w.Orchestrator.ClientID }
	asIs := func(*World, Claims) {}
	cases := []Case{
		{Name: "CA3 private_key_jwt without client_id", Build: assertion(nobody, asIs)},
		{Name: "CA6 client_id that is the assertion's subject", Build: assertion(itself, asIs)},
		{Name: "CA6 client_id of another agent", Build: assertion(func(w *World) string { return w.Researcher.ClientID }, asIs), Want: exchange.InvalidClient},
		{Name: "CA5 typ client-authentication+jwt", Build: assertion(nobody, func(_ *World, c Claims) { c["!typ"] = "client-authentication+jwt" })},
		{Name: "CA5 typ application/client-authentication+jwt", Build: assertion(nobody, func(_ *World, c Claims) {
			c["!typ"] = "application/client-authentication+jwt"
		})},
		{Name: "CA3 fractional dates, JW10", Build: assertion(nobody, func(w *World, c Claims) {
			c["exp"] = float64(w.Clock.Now().Add(time.Minute).Unix()) + 0.5
		})},
		{Name: "CA3 iat 9 seconds ahead, JW11", Build: assertion(nobody, func(w *World, c Claims) { c["iat"] = w.Clock.Now().Add(9 * time.Second).Unix() })},
		{Name: "CA3 iat 61 seconds ahead, JW11", Build: assertion(nobody, func(w *World, c Claims) { c["iat"] = w.Clock.Now().Add(61 * time.Second).Unix() }),
			Want: exchange.InvalidClient},
		{Name: "CA6 an assertion of nobody's workload", Build: assertion(itself, func(w *World, c Claims) { c["iss"], c["sub"] = w.IDP.URL, "alice" }),
			Want: exchange.InvalidClient},
		{Name: "CA9 a user's login is no agent's credential", Build: by(func(t testing.TB, w *World) exchange.Credential {
			return exchange.Credential{ClientID: w.Orchestrator.ClientID, Assertion: w.IDP.IDToken(t, "alice", nil)}
		}), Want: exchange.InvalidClient},
		{Name: "JW4 an access token of ours is no client assertion", Build: by(func(t testing.TB, w *World) exchange.Credential {
			return exchange.Credential{Assertion: w.Token(t, w.Orchestrator, "github:read", nil)}
		}), Want: exchange.InvalidClient},
		{Name: "JW3 another agent's key under this agent's kid", Build: by(func(t testing.TB, w *World) exchange.Credential {
			thief := w.Orchestrator
			thief.Key = renamed(t, w.Orchestrator.Key.Key().KeyID())
			return thief.AssertionCredential(t, w, nil)
		}), Want: exchange.InvalidClient},
		{Name: "WI1 a JWT-SVID without client_id", Build: by(func(t testing.TB, w *World) exchange.Credential {
			return w.Orchestrator.AssertionCredential(t, w, func(c Claims) {
				c["iss"], c["sub"] = nil, "spiffe://acme.test/orchestrator"
			})
		}), Want: exchange.InvalidClient},
	}
	for _, typ := range []string{
		"at+jwt", "dpop+jwt", "txntoken+jwt", "oauth-id-jag+jwt", "secevent+jwt", "token-introspection+jwt", "statuslist+jwt", "wit+jwt", "wpt+jwt",
	} {
		cases = append(cases, Case{Name: "JW5 a client assertion with the typ " + typ, Want: exchange.InvalidClient,
			Build: assertion(nobody, func(_ *World, c Claims) { c["!typ"] = typ })})
	}
	return cases
}

// renamed is a new key that calls itself by another's kid.
func renamed(t testing.TB, kid string) jose.Signer {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	must(t, err)
	signer, err := jose.NewSigner(kid, jose.ES256, key)
	must(t, err)
	return signer
}
