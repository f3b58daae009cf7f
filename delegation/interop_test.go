package delegation_test

import (
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	gojose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/jose"
)

// TestOthersVerifyOurs: libraries that are not ours and not jwx take a token of each algorithm from the key set alone.
func TestOthersVerifyOurs(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	for _, alg := range []jose.Algorithm{jose.ES256, jose.EdDSA, jose.PS256, jose.RS256} {
		t.Run(string(alg), func(t *testing.T) {
			t.Parallel()
			s := signer(t, "k-"+string(alg), alg)
			payload, err := must(i.Verified(t, nil).Delegate(childOf(t))).Payload()
			if err != nil {
				t.Fatal(err)
			}
			token, err := s.Sign(delegation.TokenType, payload)
			if err != nil {
				t.Fatal(err)
			}
			var set gojose.JSONWebKeySet
			if err := jose.Decode(jose.NewKeySet(s.Key()).JSON(), &set); err != nil {
				t.Fatal(err)
			}
			parsed, err := jwt.ParseSigned(token, []gojose.SignatureAlgorithm{gojose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatal(err)
			}
			var claims jwt.Claims
			var ours struct {
				Act struct {
					Sub string `json:"sub"`
				} `json:"act"`
			}
			if err := parsed.Claims(set, &claims, &ours); err != nil {
				t.Fatal(err)
			}
			err = claims.Validate(jwt.Expected{
				Issuer: i.URL(), Subject: delegationtest.User, AnyAudience: jwt.Audience{"https://other.test"}, Time: noon,
			})
			if err != nil || ours.Act.Sub != "agent:acme/writer" {
				t.Errorf("%v, actor %q", err, ours.Act.Sub)
			}
		})
	}
}

func childOf(t testing.TB) delegation.Grant {
	t.Helper()
	g := childGrant(t)
	g.Actor, g.Scope, g.Now = "agent:acme/writer", scopes(t, "issues:read"), noon
	return g
}

// TestOIDCVerifiesOurs: go-oidc, from the served key set.
func TestOIDCVerifiesOurs(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	verifier := oidc.NewVerifier(i.URL(), oidc.NewRemoteKeySet(t.Context(), i.ServeKeys(t)), &oidc.Config{
		ClientID: delegationtest.Audience, SupportedSigningAlgs: []string{oidc.ES256}, Now: func() time.Time { return noon },
	})
	token, err := verifier.Verify(t.Context(), i.Token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if token.Subject != delegationtest.User {
		t.Errorf("subject is %q", token.Subject)
	}
}
