package exchangegrpc_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
)

// TestGR9Parity: GR9, GR4. The same request says the same at both doors, success or refusal.
func TestGR9Parity(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	doors := both(t, w.Service)
	cases := exchangetest.Cases()
	if len(cases) == 0 {
		t.Fatal("there are no cases")
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			for name, d := range doors {
				cred, req := c.Build(t, w) // anew: an assertion is used once
				if name == "grpc" && cred.Assertion != "" && cred.Secret != "" {
					continue // one authorization value cannot say it
				}
				if c.Prove != nil {
					cred.Proofs = c.Prove(t, w, "POST", d.uri(cred))
				}
				got := d.exchange(t, cred, req)
				if c.Want == "" {
					checkSuccess(t, w, c, name, got)
					continue
				}
				checkRefusal(t, name, got, c.Want, c.Field)
			}
		})
	}
}

func checkSuccess(t *testing.T, w *exchangetest.World, c exchangetest.Case, name string, got answer) {
	t.Helper()
	r := got.response
	if got.oauth != "" || r.AccessToken == "" || r.IssuedTokenType == "" || r.TokenType == "" || r.ExpiresIn <= 0 || r.ActionID == "" {
		t.Errorf("%s: %q %s %v, want a token (TX12, TE13, TE14)", name, got.oauth, got.reason, r)
		return
	}
	if c.Check != nil {
		c.Check(t, w, r)
	}
}

// unauthenticated are the reasons that are about who calls and what it proves, and they alone are UNAUTHENTICATED (GR1, GR4).
var unauthenticated = map[exchange.Reason]bool{exchange.InvalidClient: true, exchange.InvalidProof: true, exchange.UseNonce: true}

func checkRefusal(t *testing.T, name string, got answer, want exchange.Reason, field string) {
	t.Helper()
	if got.oauth != want.OAuth() {
		t.Errorf("%s: error %q, want %q (%s)", name, got.oauth, want.OAuth(), want)
	}
	if name == "http" {
		if (got.status == 401) != (want == exchange.InvalidClient) || got.status < 400 {
			t.Errorf("http: %d for %s (TE9)", got.status, want)
		}
		return
	}
	if got.reason != string(want) || got.field != field {
		t.Errorf("grpc: %s of field %q, want %s of %q (GR3)", got.reason, got.field, want, field)
	}
	if (got.code == codes.Unauthenticated) != unauthenticated[want] {
		t.Errorf("grpc: %s for %s (GR1, GR4)", got.code, want)
	}
	if want == exchange.DelegationDenied && got.code != codes.PermissionDenied {
		t.Errorf("grpc: %s for %s (GR1)", got.code, want)
	}
}

// TestGR9Grants: GR9, TX1, TE10, TE16. Which grants there are is decided behind the doors, by exact comparison.
func TestGR9Grants(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	doors := both(t, w.Service)
	for _, c := range []struct {
		name, grant string
		want        exchange.Reason
	}{
		{"TX1 the URN", exchange.GrantType, ""},
		{"TX1 in another case", "urn:ietf:params:oauth:grant-type:Token-Exchange", exchange.UnsupportedGrantType},
		{"TX1 its last part", "token-exchange", exchange.UnsupportedGrantType},
		{"TX1 with a space", exchange.GrantType + " ", exchange.UnsupportedGrantType},
		{"TE10 not allowed to the client", exchange.GrantClientCredentials, exchange.UnauthorizedClient},
		{"TE10 another that is not allowed", exchange.GrantJWTBearer, exchange.UnauthorizedClient},
		{"TE16 password", "password", exchange.UnsupportedGrantType},
		{"TE10 authorization_code", "authorization_code", exchange.UnsupportedGrantType},
		{"TX14 refresh_token", "refresh_token", exchange.UnsupportedGrantType},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for name, d := range doors {
				req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
				req.Grant = c.grant
				got := d.exchange(t, w.Orchestrator.Credential(), req)
				if c.want != "" {
					checkRefusal(t, name, got, c.want, "")
				} else if got.oauth != "" {
					t.Errorf("%s: %s", name, got.oauth)
				}
			}
		})
	}
}

// TestGR9Introspection: GR9, IN1 to IN6. A question has one answer, by whatever door it comes.
func TestGR9Introspection(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewInquiryWorld(t)
	doors := both(t, w.Service)
	for _, c := range exchangetest.Introspections() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			for name, d := range doors {
				cred, token := c.Build(t, w)
				got := d.introspect(t, cred, token, false) // IN4: with a wrong hint
				if c.Want != "" {
					checkRefusal(t, name, got, c.Want, c.Field)
					continue
				}
				if got.oauth != "" || got.told.Active != c.Active || !c.Active && string(got.told.Claims) != `{"active":false}` {
					t.Errorf("%s: %s %s", name, got.oauth, got.told.Claims)
					continue
				}
				var members map[string]any
				if err := json.Unmarshal(got.told.Claims, &members); err != nil {
					t.Fatal(err)
				}
				if c.Check != nil {
					c.Check(t, w, members)
				}
			}
		})
	}
	t.Run("IN7 the signed answer has the same in it, and stands alone", func(t *testing.T) {
		t.Parallel()
		token := w.Token(t, w.Orchestrator, "github:read", nil)
		said := map[string]any{}
		for name, d := range doors {
			got := d.introspect(t, w.Courier.Credential(), token, true)
			if got.oauth != "" || got.told.Active || len(got.told.Claims) != 0 {
				t.Errorf("%s: %s beside the JWT: %s", name, got.oauth, got.told.Claims)
			}
			typ, claims := w.Read(t, got.told.JWT)
			if typ != "token-introspection+jwt" || claims["aud"] != w.Courier.ClientID {
				t.Errorf("%s: typ %s, claims %v", name, typ, claims)
			}
			said[name] = claims["token_introspection"]
		}
		if !reflect.DeepEqual(said["grpc"], said["http"]) {
			t.Errorf("grpc %v, http %v", said["grpc"], said["http"])
		}
	})
	t.Run("IN7 C6 an unauthenticated asker", func(t *testing.T) {
		t.Parallel()
		for name, d := range doors {
			got := d.introspect(t, exchange.Credential{}, "x", true)
			if got.oauth != "invalid_client" || name == "http" && got.status != 400 || name == "grpc" && got.code != codes.Unauthenticated {
				t.Errorf("%s: %s %d %s", name, got.oauth, got.status, got.code)
			}
		}
	})
}

// TestGR9Revocation: GR9, RV1 to RV4, RV6. A token is dead when either door says so.
func TestGR9Revocation(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewInquiryWorld(t)
	doors := both(t, w.Service)
	for _, c := range exchangetest.Revocations() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			for name, d := range doors {
				cred, token := c.Build(t, w)
				got := d.revoke(t, cred, token) // RV3: with a wrong hint
				if c.Want != "" {
					checkRefusal(t, name, got, c.Want, c.Field)
				} else if got.oauth != "" {
					t.Errorf("%s: %s %s", name, got.oauth, got.reason)
				}
				if alive := w.Alive(token); alive != c.Active {
					t.Errorf("%s: alive afterwards: %v", name, alive)
				}
			}
		})
	}
}
