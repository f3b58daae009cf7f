package exchange

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/exchange/registry"
)

// TestGrantAllowed: TE10, TE16. A grant is known or not before anybody asks who is registered for it.
func TestGrantAllowed(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	for name, c := range map[string]struct {
		registered []string
		grant      string
		want       Reason
	}{
		"TE10 token exchange is what everybody has": {nil, GrantType, ""},
		"TE10 no grant_type is token exchange":      {nil, "", ""},
		"TE10 others are not":                       {nil, GrantJWTBearer, UnauthorizedClient},
		"TE10 nor is the service's":                 {nil, GrantClientCredentials, UnauthorizedClient},
		"TE10 registered for another alone":         {[]string{registry.GrantClientCredentials}, GrantType, UnauthorizedClient},
		"TE10 registered":                           {[]string{registry.GrantClientCredentials}, GrantClientCredentials, ""},
		"TE10 by its short name":                    {[]string{registry.GrantJWTBearer}, "jwt-bearer", UnsupportedGrantType},
		"TE16 password":                             {[]string{"password"}, "password", UnsupportedGrantType},
		"TE10 in another case":                      {nil, strings.ToUpper(GrantType), UnsupportedGrantType},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := b.login(t)
			client := *f.Client
			client.Registration.Grants = c.registered
			f.Client, f.Grant = &client, c.grant
			if got := ReasonOf(f.grantAllowed()); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestNeverAnotherType: TX11, TX13. Whatever is asked for, and however, a request that is in order is for that very type, or for
// an access token when it named none.
func TestNeverAnotherType(t *testing.T) {
	t.Parallel()
	types := []string{"", TypeAccessToken, TypeJWT, TypeIDJAG, TypeTxnToken, TypeIDToken, "urn:ietf:params:oauth:token-type:refresh_token", "jwt"}
	some := func(values ...string) *rapid.Generator[string] { return rapid.SampledFrom(append(values, "")) }
	rapid.Check(t, func(r *rapid.T) {
		req := Request{
			Grant: some(GrantType, GrantClientCredentials, GrantJWTBearer).Draw(r, "grant"), Assertion: some("a.b.c").Draw(r, "assertion"),
			SubjectToken: some("x.y.z").Draw(r, "subject"), SubjectTokenType: rapid.SampledFrom(append(types, TypeIDToken)).Draw(r, "subject type"),
			Scope: some("a", "a b").Draw(r, "scope"), RequestedTokenType: rapid.SampledFrom(types).Draw(r, "type"),
			RequestContext: some(`{"a":1}`, "x").Draw(r, "context"), RequestDetails: some(`{}`).Draw(r, "details"),
			Audience: rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 2).Draw(r, "audience"), MayAct: some("acme.courier").Draw(r, "may act"),
		}
		w, err := parse(&req, rar.Types{})
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Description == "" || e.Field == "" {
				r.Fatalf("a malformed request without a field: %v", err)
			}
			return
		}
		asked := req.RequestedTokenType
		if asked == "" {
			asked = TypeAccessToken
		}
		access := asked == TypeAccessToken || asked == TypeJWT
		switch f := (Facts{Want: w}); {
		case w.IssuedType != asked || !slices.Contains(types[1:5], asked):
			r.Fatalf("%q was asked for, and %q is issued", asked, w.IssuedType)
		case f.accessToken() != access:
			r.Fatalf("%q is an access token: %v", asked, f.accessToken())
		case !access && (req.grant() != GrantType || len(w.Names) != 1 || w.MayAct != ""):
			r.Fatalf("%q of %+v", asked, w)
		case w.SubjectType == TypeTxnToken && asked != TypeTxnToken:
			r.Fatalf("a transaction token buys %q", asked)
		case asked != TypeTxnToken && (w.RequestContext != nil || w.RequestDetails != nil):
			r.Fatalf("context is dropped of %q", asked)
		}
	})
}

// TestFormatsOfOneApproval: TX11, JW4. What Decide approves has the typ of what was asked for.
func TestFormatsOfOneApproval(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	for issued, typ := range map[string]string{
		TypeAccessToken: delegation.TokenType, TypeJWT: delegation.TokenType, TypeTxnToken: delegation.TypeTransactionToken,
	} {
		t.Run("TX11 "+issued, func(t *testing.T) {
			t.Parallel()
			f := b.login(t)
			f.Want.IssuedType = issued
			u, err := delegation.Root(f.Subject.login.subject, delegation.Grant{
				Issuer: f.Issuer, ClientID: f.Client.ClientID, Org: f.Org.ID(), Actor: f.Actor.ID, Audience: "acme.internal",
				Scope: scopes(t, "issues:read"), ID: f.TokenID, Transaction: f.Transaction, Now: f.Now, Life: f.life(),
			})
			if err != nil {
				t.Fatal(err)
			}
			if u, err = f.format(u); err != nil || u.Type() != typ {
				t.Errorf("typ %q, %v; want %q", u.Type(), err, typ)
			}
		})
	}
}

// TestNoTransactionTokens: TT3. Without a trust domain there are none, whoever asks.
func TestNoTransactionTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t).login(t)
	f.Want.IssuedType, f.Want.Resources, f.Want.Names = TypeTxnToken, nil, []string{""}
	_, err := Decide(f)
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != InvalidRequest || e.Field != "requested_token_type" {
		t.Errorf("%v", err)
	}
	f.Want.IssuedType, f.Want.Names = TypeIDJAG, []string{"https://as.partner.test"}
	if _, err = Decide(f); ReasonOf(err) != InvalidTarget {
		t.Errorf("an ID-JAG for nobody known: %v", err)
	}
}

// FuzzRequestContext: TT3, TT6. Whatever is sent as request_context is refused, or is one object with one meaning, of bounded
// size, without the access token, and says the same when it is read again.
func FuzzRequestContext(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":{"b":[1,2.50,null,"\u0061"]}}`, `{"a":1,"a":2}`, `[]`, `null`, `{"x.y.z":"x.y\u002ez"}`, `{"n":1E400}`, "{\"\xff\":1}"} {
		f.Add(seed)
	}
	r := Request{SubjectToken: "x.y.z"}
	f.Fuzz(func(t *testing.T, raw string) {
		read, refused := readContext("request_context", raw, &r)
		if refused != nil || raw == "" {
			if read != nil || refused != nil && (refused.Reason != InvalidRequest || refused.Field != "request_context") {
				t.Fatalf("%q, %v", read, refused)
			}
			return
		}
		if len(read) > maxContext || read[0] != '{' || strings.Contains(string(read), r.SubjectToken) {
			t.Fatalf("%q", read)
		}
		if again, refused := readContext("request_context", string(read), &r); refused != nil || string(again) != string(read) {
			t.Fatalf("%q became %q: %v", read, again, refused)
		}
	})
}
