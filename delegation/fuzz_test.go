package delegation_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/jose"
)

// fuzzKey is a fixed key (RFC 8037 A.1), so that a corpus keeps its meaning.
const fuzzKey = `{"kty":"OKP","crv":"Ed25519","kid":"fuzz","alg":"EdDSA","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",` +
	`"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

const fuzzClaims = `{"iss":"https://sts.test","aud":"https://service.test","sub":"user:acme/okta|alice","client_id":"acme.orchestrator",` +
	`"org_id":"acme","scope":"a b","iat":1795348800,"exp":1795349100,"jti":"j","txn":"t","act":{"iss":"https://sts.test",` +
	`"sub":"agent:acme/researcher","act":{"iss":"https://sts.test","sub":"agent:acme/orchestrator"}},"lineage":["l"],"groups":["g"]}`

func fuzzVerifier(f *testing.F) (jose.Signer, *delegation.Verifier) {
	f.Helper()
	s, err := jose.ParsePrivateJWK([]byte(fuzzKey))
	if err != nil {
		f.Fatal(err)
	}
	return s, newVerifier(f, delegation.VerifierConfig{
		Issuer: delegationtest.IssuerURL, Audience: delegationtest.Audience, Keys: delegation.StaticKeys(jose.NewKeySet(s.Key())),
		Revocations: delegation.NoRevocations, Now: func() time.Time { return noon }, Remember: -1, AcceptBound: true,
	})
}

// FuzzClaims signs whatever it is given: what is taken has every promise of the package, and survives being written and
// read again.
func FuzzClaims(f *testing.F) {
	s, verifier := fuzzVerifier(f)
	for _, seed := range []string{
		fuzzClaims, `{}`, `null`, `{"act":[]}`, `{"iss":"a","iss":"b"}`, `{"exp":1.5e9,"iat":"x"}`, `{"act":{"act":{"act":{}}}}`,
		strings.Replace(fuzzClaims, `{`, `{"cnf":{"x5t#S256":"`+jkt+`"},`, 1), strings.Replace(fuzzClaims, "user:acme/okta|alice", "service:acme/x", 1),
		`{"cnf":{"jkt":"` + jkt + `"},"authorization_details":[{"type":"x"}],"may_act":{"iss":"https://sts.test","sub":"agent:acme/x"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > delegation.MaxTokenSize {
			return
		}
		token, err := s.Sign(delegation.TokenType, payload)
		if err != nil {
			t.Fatal(err)
		}
		v, err := verifier.Verify(t.Context(), token)
		if err != nil {
			if delegation.Describe(err) == "not valid" {
				t.Fatalf("%v is none of the sentinels", err)
			}
			return
		}
		c := v.Claims()
		for _, id := range v.Chain() {
			if org, _, err := delegation.ParseAgentID(id); err != nil || org != v.OrgID() {
				t.Fatalf("actor %q in org %q", id, v.OrgID())
			}
		}
		org, _, _, err := delegation.ParseUserID(v.Subject())
		if service, _, notService := delegation.ParseServiceID(v.Subject()); notService == nil {
			org, err = service, nil
		}
		if k := v.Confirmation(); k != nil && (k.JKT == "") == (k.X5T == "") {
			t.Fatalf("bound to %v", *k)
		}
		if err != nil || org != v.OrgID() || v.Depth() < 1 || v.Depth() > delegation.MaxDepth || !c.Expiry.After(c.IssuedAt) {
			t.Fatalf("taken: %s", payload)
		}
		again, err := c.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if token, err = s.Sign(delegation.TokenType, again); err != nil {
			t.Fatal(err)
		}
		if len(token) > delegation.MaxTokenSize {
			return
		}
		if w, err := verifier.Verify(t.Context(), token); err != nil || w.Actor() != v.Actor() || w.Subject() != v.Subject() {
			t.Fatalf("%s\nwas taken, but not as\n%s: %v", payload, again, err)
		}
	})
}

// FuzzVerify: no text panics, and only the one token that was signed is taken.
func FuzzVerify(f *testing.F) {
	s, verifier := fuzzVerifier(f)
	good, err := s.Sign(delegation.TokenType, []byte(fuzzClaims))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good + "A")
	f.Add("eyJhbGciOiJub25lIn0." + good[20:])
	f.Fuzz(func(t *testing.T, token string) {
		_, err := verifier.Verify(t.Context(), token)
		if (err == nil) != (token == good) {
			t.Fatalf("%q: %v", token, err)
		}
		if err != nil && delegation.Describe(err) == "not valid" {
			t.Fatalf("%v is none of the sentinels", err)
		}
	})
}

// FuzzScope: what is read is written as it is read again, sorted, and within the limits.
func FuzzScope(f *testing.F) {
	for _, seed := range []string{"", "a", "b a", "a a", " a", "a  b", "github:issues:write", "a\"b", "ä", "a\tb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := delegation.ParseScopes(in)
		if err != nil {
			if !errors.Is(err, delegation.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := delegation.ParseScopes(s.String())
		if err != nil || !again.Equal(s) || s.Len() > 100 || len(s.String()) > len(in) || !s.SubsetOf(again) {
			t.Fatalf("%q is %q, then %q: %v", in, s, again, err)
		}
	})
}

// FuzzIDs: an identifier that is read is made of its parts again.
func FuzzIDs(f *testing.F) {
	for _, seed := range []string{"agent:acme/researcher", "acme.researcher", "user:acme/okta|00u1", "user:a/b|c|d/e", "acme", "service:acme/reporting"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		kinds := 0
		if org, name, err := delegation.ParseAgentID(id); err == nil {
			kinds++
			if delegation.AgentID(org, name) != id {
				t.Fatalf("%q", id)
			}
		}
		if org, name, err := delegation.ParseClientID(id); err == nil {
			kinds++
			if delegation.ClientID(org, name) != id {
				t.Fatalf("%q", id)
			}
		}
		if org, name, err := delegation.ParseServiceID(id); err == nil {
			kinds++
			if delegation.ServiceID(org, name) != id {
				t.Fatalf("%q", id)
			}
		}
		if org, issuer, sub, err := delegation.ParseUserID(id); err == nil {
			kinds++
			if back, err := delegation.UserID(org, issuer, sub); err != nil || back != id {
				t.Fatalf("%q, %v", id, err)
			}
		}
		if kinds > 1 {
			t.Fatalf("%q is of two kinds", id)
		}
	})
}
