package delegation_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/jose"
)

// TestOneKindOfToken: JW4, AT1, AT6: of all kinds of JWT, rightly signed by our own key over the very same claims, an
// access token is the only one that is an access token. None may go without a typ.
func TestOneKindOfToken(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	payload, err := i.Claims().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	verifier := newVerifier(t, config(i))
	for _, typ := range []string{
		"at+jwt", "AT+JWT", "application/at+jwt", "dpop+jwt", "txntoken+jwt", "oauth-id-jag+jwt", "secevent+jwt", "token-introspection+jwt",
		"statuslist+jwt", "wit+jwt", "wpt+jwt", "client-authentication+jwt", "logout+jwt", "kb+jwt", "JWT", "jose", "", "at", "jwt+at", "xat+jwt",
		"text/at+jwt", "application/application/at+jwt", "at+jwt ", "at+jwt;v=1",
	} {
		t.Run("JW4 typ "+typ, func(t *testing.T) {
			t.Parallel()
			_, err := verifier.Verify(t.Context(), i.Sign(t, typ, payload))
			own := strings.TrimPrefix(strings.ToLower(typ), "application/") == "at+jwt"
			if own != (err == nil) || err != nil && !errors.Is(err, delegation.ErrType) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestProofsAreNoTokens: JW4, JW6: nor is a DPoP proof, which brings its own key, whatever it claims.
func TestProofsAreNoTokens(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	payload, err := i.Claims().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	proof, err := i.Signer().SignProof(payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t, config(i)).Verify(t.Context(), proof); !errors.Is(err, delegation.ErrMalformed) {
		t.Error(err)
	}
}

// TestWhoActs: ACT3, ACT4, ACT10: the outermost actor acts; those behind it and the client that asked are others, and have no
// say.
func TestWhoActs(t *testing.T) {
	t.Parallel()
	v := newIssuer(t).Verified(t, func(c *delegation.Claims) {
		delegationtest.As("acme", "alice", "writer", "researcher", "orchestrator")(c)
		c.ClientID = "acme.gateway"
	})
	want := []string{"agent:acme/writer", "agent:acme/researcher", "agent:acme/orchestrator"}
	if v.Actor() != want[0] || v.ClientID() != "acme.gateway" || !cmp.Equal(v.Chain(), want) {
		t.Errorf("%s acts, %s asked, chain %q", v.Actor(), v.ClientID(), v.Chain())
	}
	// Who was an actor before is none now: the law does not let it continue the chain as its own.
	g := childOf(t)
	g.Actor = "agent:acme/orchestrator"
	u, err := v.Delegate(g)
	if err != nil || u.Claims().Depth() != 4 {
		t.Errorf("depth %d, %v", u.Claims().Depth(), err)
	}
}

// TestShapeOfTheToken: ACT1, ACT2, ACT5, ACT11, AT1, AT2, AT3, DP5, DP11, MT1: the members that others read, as the standards name
// them.
func TestShapeOfTheToken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key  delegation.Confirmation
		want map[string]any
	}{
		"DP5 DP11 bound to a DPoP key":    {delegation.Confirmation{JKT: jkt}, map[string]any{"jkt": jkt}},
		"MT1 DP11 bound to a certificate": {delegation.Confirmation{X5T: x5t}, map[string]any{"x5t#S256": x5t}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := rootGrant(t)
			g.Confirmation, g.MayAct = &c.key, "agent:acme/researcher"
			u, err := delegation.Root(delegation.Subject{ID: delegation.ServiceID("acme", "reporting")}, g)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := u.Payload()
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(payload, &got); err != nil {
				t.Fatal(err)
			}
			agent := func(name string) map[string]any {
				return map[string]any{"iss": "https://sts.test", "sub": "agent:acme/" + name}
			}
			want := map[string]any{
				"iss": "https://sts.test", "aud": "https://service.test", "sub": "service:acme/reporting", "client_id": "acme.orchestrator",
				"org_id": "acme", "scope": "read write", "iat": 1795348800.0, "exp": 1795349100.0, "jti": "root", "txn": "txn",
				"act": agent("orchestrator"), "may_act": agent("researcher"), "cnf": c.want,
			}
			if diff := cmp.Diff(want, got); diff != "" || u.Type() != "at+jwt" {
				t.Errorf("typ %s: %s", u.Type(), diff)
			}
		})
	}
}

// TestServiceAccounts: AT3: without a user the subject is a service account, and all that holds of a user's token holds of
// its token.
func TestServiceAccounts(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	u, err := delegation.Root(delegation.Subject{ID: "service:acme/reporting"}, rootGrant(t))
	if err != nil {
		t.Fatal(err)
	}
	v, err := i.Verifier(t, "").Verify(t.Context(), i.Mint(t, u))
	if err != nil {
		t.Fatal(err)
	}
	g := childGrant(t)
	g.Now = noon
	if u, err = v.Delegate(g); err != nil {
		t.Fatal(err)
	}
	child, err := i.Verifier(t, "").Verify(t.Context(), i.Mint(t, u))
	if err != nil || child.Subject() != "service:acme/reporting" || child.Depth() != 2 || !child.Claims().AuthTime.IsZero() {
		t.Errorf("%v, %s", err, child.Subject())
	}
	g.Scope = scopes(t, "read admin")
	_, err = v.Delegate(g)
	wantRule(t, err, delegation.RuleScope)
}

// TestKeyOfTheIssuer: JW3: a key is looked up at the token's issuer: another issuer's key of the same kid does not count.
func TestKeyOfTheIssuer(t *testing.T) {
	t.Parallel()
	ours, theirs := signer(t, "same", jose.ES256), signer(t, "same", jose.ES256)
	i := newIssuer(t)
	payload, err := i.Claims().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	c := config(i)
	c.Keys = delegation.StaticKeys(jose.NewKeySet(ours.Key()))
	token, err := theirs.Sign(delegation.TokenType, payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t, c).Verify(t.Context(), token); !errors.Is(err, delegation.ErrSignature) {
		t.Error(err)
	}
}

// TestDescribe: why a token is refused, in words that may stand in a challenge.
func TestDescribe(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		delegation.ErrMalformed, delegation.ErrType, delegation.ErrAlgorithm, delegation.ErrUnknownKey, delegation.ErrSignature, delegation.ErrIssuer,
		delegation.ErrAudience, delegation.ErrExpired, delegation.ErrNotYetValid, delegation.ErrClaims, delegation.ErrChain, delegation.ErrBound,
		delegation.ErrRevoked, delegation.ErrUnavailable,
	} {
		if text := delegation.Describe(err); text == "" || text == "not valid" || strings.ContainsAny(text, "\"\\\n") {
			t.Errorf("%v: %q", err, text)
		}
	}
}
