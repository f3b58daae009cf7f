package exchangegrpc_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/wire/oauthhttp"
)

// TestMetadata: what names the client and proves keys beside the authorization metadata; the door finds and judges none.
func TestMetadata(t *testing.T) {
	t.Parallel()
	leaf := &x509.Certificate{Raw: []byte("leaf")}
	secret := basicOf("acme.a", "b")
	cases := []struct {
		name  string
		md    metadata.MD
		leaf  *x509.Certificate
		want  codes.Code
		check func(exchange.Credential) bool
	}{
		{"CA7 a certificate and obo-client-id", metadata.MD{"obo-client-id": {"acme.a"}}, leaf, codes.OK, func(c exchange.Credential) bool {
			return len(c.Certificates) == 1 && c.ClientID == "acme.a" && c.Secret == ""
		}},
		{"CA7 a certificate alone names nobody", nil, leaf, codes.Unauthenticated, nil},
		{"TX16 obo-client-id alone proves nothing", metadata.MD{"obo-client-id": {"acme.a"}}, nil, codes.Unauthenticated, nil},
		{"CA8 a certificate in metadata is nobody's", metadata.MD{"obo-client-id": {"acme.a"}, "x-forwarded-client-cert": {"x"}}, nil, codes.Unauthenticated, nil},
		{"WI4 a JWT-SVID and obo-client-id", metadata.MD{"obo-client-id": {"acme.a"}, "authorization": {"Bearer a.b.c"}}, nil, codes.OK, func(c exchange.Credential) bool {
			return c.Assertion == "a.b.c" && c.AssertionType == "" && c.ClientID == "acme.a"
		}},
		{"CA6 obo-client-id of another than Basic", metadata.MD{"obo-client-id": {"acme.b"}, "authorization": {secret}}, nil, codes.Unauthenticated, nil},
		{"two obo-client-ids", metadata.MD{"obo-client-id": {"acme.a", "acme.a"}, "authorization": {secret}}, nil, codes.Unauthenticated, nil},
		{"MT2 a certificate beside Basic", metadata.MD{"authorization": {secret}}, leaf, codes.OK, func(c exchange.Credential) bool {
			return len(c.Certificates) == 1 && c.Secret == "b"
		}},
		{"DP10 a proof without TLS", metadata.MD{"authorization": {secret}, "dpop": {"p"}}, nil, codes.OK, func(c exchange.Credential) bool {
			return slices.Equal(c.Proofs, []string{"p"}) && c.Method == http.MethodPost && c.URI == "https://sts.test/obo.v1.ExchangeService/Exchange"
		}},
		{"DP10 a proof with TLS", metadata.MD{"authorization": {secret}, "dpop": {"p"}}, leaf, codes.OK, func(c exchange.Credential) bool {
			return c.URI == "https://sts.test/obo.v1.ExchangeService/Exchange"
		}},
		{"DP1 two proofs are seen", metadata.MD{"authorization": {secret}, "dpop": {"a", "b"}}, nil, codes.OK, func(c exchange.Credential) bool {
			return slices.Equal(c.Proofs, []string{"a", "b"})
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := &counter{}
			var certificates []*x509.Certificate
			if c.leaf != nil {
				certificates = []*x509.Certificate{c.leaf}
			}
			client := obov1.NewExchangeServiceClient(dial(t, x, certificates))
			_, err := client.Exchange(metadata.NewOutgoingContext(t.Context(), c.md), &obov1.ExchangeRequest{})
			if a := answerOf(err); a.code != c.want || (x.calls == 1) != (c.check != nil) {
				t.Fatalf("got %s %s after %d calls", a.code, a.reason, x.calls)
			}
			if c.check != nil && !c.check(x.cred) {
				t.Errorf("got %v with %d certificates, proofs %q, at %s", x.cred, len(x.cred.Certificates), x.cred.Proofs, x.cred.URI)
			}
		})
	}
}

// TestAuthority: DP10. The htu is of one of our own hosts, whatever port it is reached at; who calls us by another name can
// still call, but has nothing that it could prove.
func TestAuthority(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		authority, uri string // uri is empty for one that is not ours
	}{
		{"sts.test", "https://sts.test/obo.v1.ExchangeService/Introspect"},
		{"STS.test:9090", "https://STS.test:9090/obo.v1.ExchangeService/Introspect"},
		{"sts.internal:443", "https://sts.internal:443/obo.v1.ExchangeService/Introspect"},
		{"evil.test", ""},
		{"sts.test.evil.test", ""},
		{"sts.test:443@evil.test", ""},
		{"sts.test/x", ""},
		{"[::1]:1", ""},
	} {
		t.Run("DP10 "+c.authority, func(t *testing.T) {
			t.Parallel()
			x := &counter{}
			client := obov1.NewExchangeServiceClient(dial(t, x, nil, grpc.WithAuthority(c.authority)))
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", basicOf("a", "b"))
			if _, err := client.Introspect(ctx, &obov1.IntrospectRequest{Token: "t"}); err != nil {
				t.Fatalf("without a proof: %v", err)
			}
			_, err := client.Introspect(metadata.AppendToOutgoingContext(ctx, "dpop", "p"), &obov1.IntrospectRequest{Token: "t"})
			if c.uri == "" {
				if a := answerOf(err); a.reason != string(exchange.InvalidProof) || a.code != codes.Unauthenticated || x.calls != 1 {
					t.Errorf("got %s %s", a.code, a.reason)
				}
			} else if err != nil || x.cred.URI != c.uri {
				t.Errorf("got %s, %v", x.cred.URI, err)
			}
		})
	}
}

// withNonces is a world whose server demands nonces.
func withNonces(t *testing.T) *exchangetest.World {
	t.Helper()
	w := exchangetest.NewWorld(t)
	file := filepath.Join(t.TempDir(), "key")
	if err := (seal.KeyFile{Path: file}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, err := seal.KeyFile{Path: file}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg := w.Config()
	cfg.Nonces = dpop.NewNonces(key, "as", time.Minute)
	if w.Service, err = exchange.New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestGR9Nonces: GR9, DP4, DP10. A proof without a nonce is sent back with one, in one header or in the trailer; with it, it is
// good, and the answer brings the next.
func TestGR9Nonces(t *testing.T) {
	t.Parallel()
	w := withNonces(t)
	ask := func(t *testing.T, d door, nonce any) answer {
		t.Helper()
		cred := w.Orchestrator.Credential()
		cred.Proofs = []string{w.Orchestrator.Proof(t, w, "POST", d.uri(cred), func(_, c exchangetest.Claims) { c["nonce"] = nonce })}
		return d.exchange(t, cred, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	}
	doors := both(t, w.Service)
	for name, d := range doors {
		t.Run("DP4 "+name, func(t *testing.T) {
			t.Parallel()
			first := ask(t, d, nil)
			checkRefusal(t, name, first, exchange.UseNonce, "")
			if len(first.nonces) != 1 || first.nonces[0] == "" {
				t.Fatalf("nonces %q", first.nonces)
			}
			second := ask(t, d, first.nonces[0])
			if second.oauth != "" || second.response.TokenType != "DPoP" || len(second.nonces) != 1 || second.nonces[0] == "" {
				t.Errorf("%s %s, nonces %q", second.oauth, second.reason, second.nonces)
			}
			checkRefusal(t, name, ask(t, d, "made-up"), exchange.UseNonce, "")
		})
	}
	t.Run("DP4 a nonce of one door is good at the other", func(t *testing.T) {
		t.Parallel()
		nonce := ask(t, doors["grpc"], nil).nonces
		if got := ask(t, doors["http"], nonce[0]); got.oauth != "" {
			t.Errorf("%s", got.oauth)
		}
	})
	t.Run("DP4 no nonce where no proof is", func(t *testing.T) {
		t.Parallel()
		for name, d := range doors {
			got := d.exchange(t, w.Orchestrator.Credential(), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
			if got.oauth != "" || len(got.nonces) != 0 {
				t.Errorf("%s: %s, nonces %q", name, got.oauth, got.nonces)
			}
		}
	})
}

// refuser refuses with what it is told to.
type refuser struct{ err error }

func (r *refuser) Exchange(context.Context, exchange.Credential, exchange.Request) (exchange.Response, error) {
	return exchange.Response{}, r.err
}

func (r *refuser) Introspect(context.Context, exchange.Credential, string, bool) (exchange.Introspection, error) {
	return exchange.Introspection{}, r.err
}

func (r *refuser) RevokeToken(context.Context, exchange.Credential, string, string) error {
	return r.err
}

// TestGR9Refusals: GR3, GR4, GR6, GR9. Whatever the server behind the doors refuses with, every method of both doors says it alike.
func TestGR9Refusals(t *testing.T) {
	t.Parallel()
	for _, reason := range []exchange.Reason{
		exchange.InvalidRequest, exchange.SubjectTokenInvalid, exchange.ActorTokenInvalid, exchange.DelegationDenied, exchange.InvalidTarget,
		exchange.InvalidScope, exchange.InvalidAuthorizationDetails, exchange.InvalidClient, exchange.InvalidGrant, exchange.UnsupportedGrantType,
		exchange.UnsupportedTokenType, exchange.InvalidProof, exchange.UseNonce, exchange.InteractionRequired, exchange.UnauthorizedClient,
		exchange.DependencyUnavailable, exchange.RateLimited, exchange.Internal,
	} {
		t.Run("GR3 "+string(reason), func(t *testing.T) {
			t.Parallel()
			x := &refuser{err: &exchange.Error{Reason: reason, Description: "why", RetryAfter: time.Second}}
			cred := exchange.Credential{ClientID: "a", Secret: "b"}
			for name, d := range both(t, x) {
				for _, got := range []answer{
					d.exchange(t, cred, exchange.Request{}), d.introspect(t, cred, "t", false), d.revoke(t, cred, "t"),
				} {
					checkRefusal(t, name, got, reason, "")
					if got.code == codes.Internal && reason != exchange.Internal || got.code == codes.Unknown {
						t.Errorf("%s: %s (GR6)", reason, got.code) // what gRPC's own table makes of HTTP's 400
					}
				}
			}
		})
	}
}

// TestServedKeys: MD6. Whoever fetches the key set gets keys with kid, alg and use, and no private member.
func TestServedKeys(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	h, err := oauthhttp.NewHandler(oauthhttp.Config{
		Issuer: exchangetest.Issuer, Exchange: w.Service, JWKS: w.Ring.JWKS, JWKSMaxAge: time.Minute,
		Ready: func() error { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/jwks", nil))
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("%d keys, %v", len(set.Keys), err)
	}
	for _, k := range set.Keys {
		if k["kid"] == nil || k["alg"] == nil || k["use"] != "sig" {
			t.Errorf("key %v", k)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, there := k[private]; there {
				t.Errorf("key %v has %s", k["kid"], private)
			}
		}
	}
}
