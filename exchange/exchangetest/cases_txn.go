package exchangetest

import (
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
)

// transacting is the reporter's request for a transaction token of its own access token, with what change makes of it.
func transacting(change func(*World, *exchange.Request)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return byReporter(func(t testing.TB, w *World) exchange.Request {
		r := ForTransaction(w.Token(t, w.Reporter, "github:read github:write", nil), exchange.TypeAccessToken, "github:read")
		r.RequestContext, r.RequestDetails = `{"req_ip":"192.0.2.1"}`, `{"repository":"obo","n":1}`
		if change != nil {
			change(w, &r)
		}
		return r
	})
}

func transactionCases() []Case {
	return []Case{
		{Name: "TT2 a transaction token", Build: transacting(nil), Check: func(t testing.TB, w *World, r exchange.Response) {
			typ, c := w.Read(t, r.AccessToken)
			same(t, "typ", typ, "txntoken+jwt")
			for _, claim := range []string{"iat", "exp", "txn", "jti"} {
				if c[claim] == nil {
					t.Errorf("no %s", claim)
				}
			}
			same(t, "iss", c["iss"].(string), Issuer)
			same(t, "aud", c["aud"].(string), TrustDomain)
			same(t, "sub", c["sub"].(string), "user:acme/okta|alice")
			same(t, "scope", c["scope"].(string), "github:read")
			same(t, "req_wl", c["req_wl"].(string), w.Reporter.ID)
			same(t, "rctx", c["rctx"].(map[string]any)["req_ip"].(string), "192.0.2.1")
			same(t, "tctx", c["tctx"].(map[string]any)["repository"].(string), "obo")
		}},
		{Name: "TT1 a transaction token has no claim by an old name", Build: transacting(nil), Check: func(t testing.TB, w *World, r exchange.Response) {
			_, c := w.Read(t, r.AccessToken)
			if c["azd"] != nil || c["purp"] != nil || c["purpose"] != nil {
				t.Errorf("claims %s", names(c))
			}
		}},
		{Name: "TT4 a transaction token is no access token", Build: transacting(nil), Check: func(t testing.TB, _ *World, r exchange.Response) {
			same(t, "token_type", r.TokenType, "N_A") // TX13
			same(t, "issued_token_type", r.IssuedTokenType, exchange.TypeTxnToken)
		}},
		{Name: "TT7 a transaction token: act is the agent, sub the user", Build: transacting(nil), Check: func(t testing.TB, w *World, r exchange.Response) {
			_, c := w.Read(t, r.AccessToken)
			same(t, "act", c["act"].(map[string]any)["sub"].(string), w.Reporter.ID)
			same(t, "act.iss", c["act"].(map[string]any)["iss"].(string), Issuer)
		}},
		{Name: "TT3 a transaction token of a login", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			return ForTransaction(w.IDP.IDToken(t, "alice", nil), exchange.TypeIDToken, "github:read")
		}), Check: func(t testing.TB, w *World, r exchange.Response) {
			_, c := w.Read(t, r.AccessToken)
			if c["rctx"] != nil || c["tctx"] != nil {
				t.Errorf("claims %s", names(c))
			}
		}},
		{Name: "TT6 a bound subject's transaction token is a credential for nobody", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			token := w.Token(t, w.Reporter, "github:read", func(_ *delegation.Subject, g *delegation.Grant) {
				g.Confirmation = &delegation.Confirmation{JKT: w.Reporter.JKT(t)}
			})
			return ForTransaction(token, exchange.TypeAccessToken, "github:read")
		}), Prove: provenBy(func(w *World) Agent { return w.Reporter }), Check: func(t testing.TB, w *World, r exchange.Response) {
			_, c := w.Read(t, r.AccessToken)
			same(t, "token_type", r.TokenType, "N_A")
			if c["cnf"] != nil {
				t.Errorf("claims %s", names(c))
			}
		}},
	}
}

func transactionRefusals() []Case {
	refused := func(name string, want exchange.Reason, field string, change func(*World, *exchange.Request)) Case {
		return Case{Name: name, Build: transacting(change), Want: want, Field: field}
	}
	object := func(name, value string) Case {
		return refused("TT3 request_context: "+name, exchange.InvalidRequest, "request_context",
			func(_ *World, r *exchange.Request) { r.RequestContext = value })
	}
	subject := func(name, tokenType string) Case {
		return refused("TT3 a transaction token of a "+name, exchange.InvalidRequest, "subject_token_type",
			func(_ *World, r *exchange.Request) {
				r.SubjectTokenType = "urn:ietf:params:oauth:token-type:" + tokenType
			})
	}
	return []Case{
		object("no JSON", "{"), object("an array", "[]"), object("a string", `"x"`), object("null", "null"),
		object("a name twice", `{"a":1,"a":2}`), object("a name twice within", `{"a":{"b":1,"b":2}}`), object("two values", `{} {}`),
		object("too long", `{"a":"`+strings.Repeat("x", 4<<10)+`"}`), object("too deep", strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40)),
		subject("refresh token", "refresh_token"), subject("unsigned object", "unsigned_json"), subject("token that a workload signed", "self_signed"),
		subject("foreign jwt", "jwt"),
		refused("TT3 request_details: no JSON", exchange.InvalidRequest, "request_details", func(_ *World, r *exchange.Request) { r.RequestDetails = "x" }),
		refused("TT3 a transaction token without scope", exchange.InvalidRequest, "scope", func(_ *World, r *exchange.Request) { r.Scope = "" }),
		refused("TT3 a transaction token without audience", exchange.InvalidTarget, "audience", func(_ *World, r *exchange.Request) { r.Audience = nil }),
		refused("TT3 a transaction token for another domain", exchange.InvalidTarget, "",
			func(_ *World, r *exchange.Request) { r.Audience = []string{"globex.internal"} }),
		refused("TT3 a transaction token for a resource", exchange.InvalidTarget, "resource",
			func(_ *World, r *exchange.Request) { r.Resource = []string{Executor} }),
		refused("TT4 a transaction token wider than its subject", exchange.InvalidScope, "",
			func(_ *World, r *exchange.Request) { r.Scope = "github:read github:admin" }),
		{Name: "TT4 a transaction token of a token that allows nothing", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			return ForTransaction(w.Token(t, w.Reporter, "", nil), exchange.TypeAccessToken, "github:read")
		}), Want: exchange.InvalidScope},
		refused("TT6 the access token in request_context", exchange.InvalidRequest, "request_context",
			func(_ *World, r *exchange.Request) { r.RequestContext = `{"a":["` + r.SubjectToken + `"]}` }),
		refused("TT6 the access token in request_details, in escapes", exchange.InvalidRequest, "request_details",
			func(_ *World, r *exchange.Request) { r.RequestDetails = `{"a":"\u0065` + r.SubjectToken[1:] + `"}` }),
		refused("TT6 nobody picks a transaction token up", exchange.InvalidRequest, "may_act",
			func(w *World, r *exchange.Request) { r.MayAct = w.Courier.ClientID }),
		refused("TT3 request_context of an access token", exchange.InvalidRequest, "request_context", func(_ *World, r *exchange.Request) {
			r.RequestedTokenType, r.Audience, r.Resource = "", nil, []string{Executor}
		}),
		refused("TT6 an access token for the trust domain", exchange.InvalidTarget, "audience", func(_ *World, r *exchange.Request) {
			r.RequestedTokenType, r.RequestContext, r.RequestDetails = "", "", ""
		}),
		{Name: "TT4 a transaction token of an expired token", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			token := w.Token(t, w.Reporter, "github:read", func(_ *delegation.Subject, g *delegation.Grant) { g.Now = g.Now.Add(-time.Hour) })
			return ForTransaction(token, exchange.TypeAccessToken, "github:read")
		}), Want: exchange.SubjectTokenInvalid, Field: "subject_token"},
		{Name: "TT3 an org without transaction tokens", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Stranger.Credential(), ForTransaction(w.Token(t, w.Stranger, "github:read", nil), exchange.TypeAccessToken, "github:read")
		}, Want: exchange.InvalidRequest, Field: "requested_token_type"},
	}
}

// transaction is a transaction token of the reporter's.
func transaction(t testing.TB, w *World, change func(*exchange.Request)) string {
	t.Helper()
	_, r := transacting(nil)(t, w)
	r.Scope = "github:read github:write"
	if change != nil {
		change(&r)
	}
	return w.Exchange(t, w.Reporter, r).AccessToken
}

// replacing is a request of the researcher to replace a transaction token, with what change makes of it.
func replacing(change func(testing.TB, *World, *exchange.Request)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		t.Helper()
		r := ForTransaction(transaction(t, w, nil), exchange.TypeTxnToken, "github:read")
		if change != nil {
			change(t, w, &r)
		}
		return w.Researcher.Credential(), r
	}
}

func replacementCases() []Case {
	refused := func(name string, want exchange.Reason, field string, change func(testing.TB, *World, *exchange.Request)) Case {
		return Case{Name: name, Build: replacing(change), Want: want, Field: field}
	}
	return []Case{
		{Name: "TT5 a replacement", Build: replacing(nil), Check: func(t testing.TB, w *World, r exchange.Response) {
			typ, c := w.Read(t, r.AccessToken)
			same(t, "typ", typ, "txntoken+jwt")
			same(t, "aud", c["aud"].(string), TrustDomain)
			same(t, "sub", c["sub"].(string), "user:acme/okta|alice")
			same(t, "scope", c["scope"].(string), "github:read")
			same(t, "req_wl", c["req_wl"].(string), w.Reporter.ID+","+w.Researcher.ID)
			same(t, "act", c["act"].(map[string]any)["sub"].(string), w.Reporter.ID)
			same(t, "tctx", c["tctx"].(map[string]any)["repository"].(string), "obo")
			same(t, "token_type", r.TokenType, "N_A")
		}},
		refused("TT5 a replacement that is wider", exchange.InvalidScope, "",
			func(_ testing.TB, _ *World, r *exchange.Request) { r.Scope = "github:read github:admin" }),
		refused("TT5 a replacement with another context", exchange.InvalidRequest, "request_context",
			func(_ testing.TB, _ *World, r *exchange.Request) { r.RequestContext = "{}" }),
		refused("TT5 a replacement with other details", exchange.InvalidRequest, "request_details",
			func(_ testing.TB, _ *World, r *exchange.Request) { r.RequestDetails = "{}" }),
		refused("TT5 a replacement for another domain", exchange.InvalidTarget, "",
			func(_ testing.TB, _ *World, r *exchange.Request) { r.Audience = []string{"globex.internal"} }),
		refused("TT5 a replacement with another actor", exchange.InvalidRequest, "actor_token", func(t testing.TB, w *World, r *exchange.Request) {
			r.ActorToken, r.ActorTokenType = w.Courier.Assertion(t, w, w.Courier, nil), exchange.TypeJWT
		}),
		refused("TT5 an access token is no transaction token", exchange.SubjectTokenInvalid, "subject_token",
			func(t testing.TB, w *World, r *exchange.Request) {
				r.SubjectToken = w.Token(t, w.Researcher, "github:read", nil)
			}),
		refused("TT6 a transaction token is no access token", exchange.SubjectTokenInvalid, "subject_token",
			func(_ testing.TB, _ *World, r *exchange.Request) { r.SubjectTokenType = exchange.TypeAccessToken }),
		refused("TT6 a transaction token buys no access token", exchange.InvalidRequest, "requested_token_type",
			func(_ testing.TB, _ *World, r *exchange.Request) {
				r.RequestedTokenType, r.Audience, r.Resource = exchange.TypeAccessToken, nil, []string{Executor}
			}),
		{Name: "TX24 a replacement by another org", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Stranger.Credential(), ForTransaction(transaction(t, w, nil), exchange.TypeTxnToken, "github:read")
		}, Want: exchange.DelegationDenied},
	}
}
