package exchange_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

// nonce is that of every request of these tests.
const nonce = "n-0S6_WzA2Mj"

// signIn is an ID token in answer to a sign-in on an executor's page, with what change makes of it.
func signIn(t *testing.T, w *exchangetest.World, user string, change func(exchangetest.Claims)) string {
	t.Helper()
	return w.IDP.IDToken(t, user, answering(change))
}

func answering(change func(exchangetest.Claims)) func(exchangetest.Claims) {
	return func(c exchangetest.Claims) {
		c["nonce"] = nonce
		if change != nil {
			change(c)
		}
	}
}

// question is what an executor asks, and the subject that it hears: none when it is refused.
type question struct {
	org             delegation.OrgID
	token           string
	client, nonce   string
	subject, reason string
}

// TestIdentify: the rules of a login as subject_token (TX6, JW1, JW3, JW5), and of OpenID Connect Core §3.1.3.7 as its client must
// hold them. Every refusal is one and the same (threat: tenant mix-up), and never UNAUTHENTICATED (GR4).
func TestIdentify(t *testing.T) {
	t.Parallel()
	p := provision(t, nil)
	w := p.World
	p.add(t, exchangetest.Person("alice"))
	p.add(t, exchangetest.Person("bound"))
	gone := exchangetest.Person("gone")
	gone.Active = false
	p.add(t, gone)
	w.Advance(t, time.Minute)
	now := w.Clock.Now()
	claim := func(name string, value any) func(exchangetest.Claims) {
		return func(c exchangetest.Claims) { c[name] = value }
	}
	alice := func(change func(exchangetest.Claims)) string { return signIn(t, w, "alice", change) }
	azp := func(aud any, azp any) string {
		return alice(func(c exchangetest.Claims) { c["aud"], c["azp"] = aud, azp })
	}
	stranger := newSigner(t, "idp-1", jose.ES256)
	const app, other = exchangetest.Audience, "obo-other-app"
	yes := func(token, client string) question {
		return question{"acme", token, client, nonce, "user:acme/okta|alice", ""}
	}
	no := func(token string) question {
		return question{"acme", token, app, nonce, "", string(exchange.SubjectTokenInvalid)}
	}
	malformed := func(token, client, nonce string) question {
		return question{"acme", token, client, nonce, "", string(exchange.InvalidRequest)}
	}
	at := func(org delegation.OrgID, q question) question { q.org = org; return q }
	for name, q := range map[string]question{
		"a user":                          yes(alice(nil), app),
		"of another client of the org's":  yes(alice(claim("aud", other)), other),
		"of several, with azp":            yes(azp([]string{other, app}, app), app),
		"with azp":                        yes(azp(app, app), app),
		"another org by its own tenant":   {"globex", alice(claim("tenant", "globex")), app, nonce, "user:globex/okta|alice", ""},
		"3.1.3.7 another client":          no(alice(claim("aud", other))),
		"3.1.3.7 a client of nobody's":    {"acme", alice(claim("aud", "x")), "x", nonce, "", string(exchange.SubjectTokenInvalid)},
		"3.1.3.7 several, another's azp":  no(azp([]string{app, other}, other)),
		"3.1.3.7 several, no azp":         no(alice(claim("aud", []string{app, other}))),
		"3.1.3.7 one, another's azp":      no(azp(app, other)),
		"3.1.3.7 another nonce":           no(alice(claim("nonce", nonce+"x"))),
		"3.1.3.7 the nonce's beginning":   no(alice(claim("nonce", nonce[:5]))),
		"3.1.3.7 no nonce":                no(w.IDP.IDToken(t, "alice", nil)),
		"3.1.3.7 an empty nonce":          no(alice(claim("nonce", ""))),
		"3.1.3.7 a nonce of another type": no(alice(claim("nonce", []string{nonce}))),
		"3.1.3.7 expired":                 no(alice(claim("exp", now.Unix()))),
		"3.1.3.7 an issuer of nobody's":   no(alice(claim("iss", "https://elsewhere.test"))),
		"JW3 another's key":               no(w.IDP.SignedBy(t, stranger, "alice", answering(nil))),
		"JW5 a typ of another kind":       no(alice(claim("!typ", "at+jwt"))),
		"JW11 from the future":            no(alice(claim("iat", now.Add(5*time.Minute).Unix()))),
		"too old": no(alice(func(c exchangetest.Claims) {
			c["iat"], c["exp"] = now.Add(-25*time.Hour).Unix(), now.Add(time.Hour).Unix()
		})),
		"TX6 an access token":    no(alice(claim("scope", "openid"))),
		"TX6 a logout token":     no(alice(claim("events", map[string]any{}))),
		"ACT7 a delegated token": no(alice(claim("act", map[string]any{"sub": "x"}))),
		"bound to a key":         no(signIn(t, w, "bound", claim("cnf", map[string]any{"jkt": w.Orchestrator.JKT(t)}))),
		"another tenant":         no(alice(claim("tenant", "globex"))),
		"another org":            at("globex", no(alice(nil))),
		"an org that is none":    at("nobody", no(alice(nil))),
		"the platform":           at(store.PlatformOrg, no(alice(nil))),
		"deactivated":            no(signIn(t, w, "gone", nil)),
		"not in the directory":   no(signIn(t, w, "eve", nil)),
		"rubbish":                no("abc"),
		"a token of ours":        no(w.Token(t, w.Orchestrator, "github:read", nil)),

		"no token":            malformed("", app, nonce),
		"JW16 too long":       malformed(strings.Repeat("a", jose.MaxTokenSize+1), app, nonce),
		"no client":           malformed(alice(nil), "", nonce),
		"a client too long":   malformed(alice(nil), strings.Repeat("a", 257), nonce),
		"no nonce in either":  malformed(w.IDP.IDToken(t, "alice", nil), app, ""),
		"a nonce too long":    malformed(alice(claim("nonce", strings.Repeat("a", 257))), app, strings.Repeat("a", 257)),
		"a client at the top": {"acme", alice(nil), strings.Repeat("a", 256), nonce, "", string(exchange.SubjectTokenInvalid)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := w.Service.Identify(t.Context(), q.org, q.token, q.client, q.nonce)
			if got.Subject != q.subject || string(exchange.ReasonOf(err)) != q.reason {
				t.Fatalf("%+v, %v; want %q, %q", got, err, q.subject, q.reason)
			}
			if q.reason == "" && !got.Expiry.Equal(now.Add(time.Hour)) {
				t.Errorf("expires at %s", got.Expiry)
			}
			if e, ok := errors.AsType[*exchange.Error](err); ok && e.Reason == exchange.SubjectTokenInvalid &&
				(e.Error() != unidentified(t, w) || e.Field != "id_token" || e.Unwrap() != nil) {
				t.Errorf("this refusal can be told from others: %+v", e)
			}
		})
	}
}

// unidentified is what is said of a token that is none.
func unidentified(t *testing.T, w *exchangetest.World) string {
	t.Helper()
	_, err := w.Service.Identify(t.Context(), "nobody", "x", "x", "x")
	return err.Error()
}

// TestIdentifyTwice: a login that is remembered is held to the nonce and the client as one that is new, also when it was remembered as a
// subject_token; and neither makes it good for another request.
func TestIdentifyTwice(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	token := signIn(t, w, "alice", nil)
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(token, "github:read")), "")
	for name, q := range map[string][2]string{
		"another nonce": {exchangetest.Audience, "another"}, "another client": {"obo-other-app", nonce},
	} {
		if _, err := w.Service.Identify(t.Context(), "acme", token, q[0], q[1]); exchange.ReasonOf(err) != exchange.SubjectTokenInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := w.Service.Identify(t.Context(), "acme", token, exchangetest.Audience, nonce); err != nil || got.Subject != "user:acme/okta|alice" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestRevokedIdentity: after a revocation of the user, the session or the org a login from before names nobody. A newer one does, and
// so does somebody else's.
func TestRevokedIdentity(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		kind revocation.Kind
		id   string
		all  bool // of the org
	}{
		"the user":        {revocation.Subject, "user:acme/okta|alice", false},
		"the session":     {revocation.Session, "session-of-alice", false},
		"the org":         {revocation.Org, "acme", true},
		"nothing of hers": {revocation.Subject, "user:acme/okta|eve", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			ask := func(token string) exchange.Reason {
				_, err := w.Service.Identify(t.Context(), "acme", token, exchangetest.Audience, nonce)
				return exchange.ReasonOf(err)
			}
			alice, bob := signIn(t, w, "alice", nil), signIn(t, w, "bob", nil)
			want(t, ask(alice), "")
			w.Revoke(t, "acme", one.kind, one.id)
			refused := map[bool]exchange.Reason{true: exchange.SubjectTokenInvalid}
			want(t, ask(alice), refused[name != "nothing of hers"])
			want(t, ask(bob), refused[one.all])
			w.Advance(t, 5*time.Second)
			want(t, ask(signIn(t, w, "alice", nil)), "")
		})
	}
}

// TestNoIdentityWithoutKnowing: the fault table. What cannot be asked now is no refusal, and names nobody.
func TestNoIdentityWithoutKnowing(t *testing.T) {
	t.Parallel()
	p := provision(t, nil)
	p.add(t, exchangetest.Person("alice"))
	for name, one := range map[string]struct {
		spoil func(*exchange.Config)
		want  exchange.Reason
	}{
		"no revocations": {func(cfg *exchange.Config) { cfg.Revocations = revocation.NewSet(0) }, exchange.DependencyUnavailable},
		"the directory is away": {func(cfg *exchange.Config) {
			cfg.Users = func(id delegation.OrgID) exchange.UserStore { return away{p.Store.Org(id), true} }
		}, exchange.DependencyUnavailable},
		"no directory":         {func(cfg *exchange.Config) { cfg.Users = nil }, exchange.Internal},
		"the provider is away": {func(*exchange.Config) { p.IDP.Down.Store(true) }, exchange.DependencyUnavailable},
	} {
		cfg := p.Config()
		one.spoil(&cfg)
		s, err := exchange.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Identify(t.Context(), "acme", signIn(t, p.World, "alice", nil), exchangetest.Audience, nonce)
		if exchange.ReasonOf(err) != one.want || got.Subject != "" {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
		p.IDP.Down.Store(false)
	}
}

// TestIdentifyGrantsNothing: nothing is on the trail, and the log says why a token was refused without holding it or the nonce.
func TestIdentifyGrantsNothing(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	var log bytes.Buffer
	cfg := w.Config()
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	s, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	before, token := len(w.Records(t, "acme")), signIn(t, w, "alice", nil)
	if _, err := s.Identify(t.Context(), "acme", token, exchangetest.Audience, nonce); err != nil || log.Len() != 0 {
		t.Errorf("%v, log: %s", err, &log)
	}
	_, err = s.Identify(t.Context(), "acme", token, exchangetest.Audience, "another-nonce")
	want(t, exchange.ReasonOf(err), exchange.SubjectTokenInvalid)
	if got := log.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "its nonce is missing or of another request") ||
		strings.Contains(got, token) || strings.Contains(got, nonce) || strings.Contains(got, "another-nonce") {
		t.Errorf("log: %s", got)
	}
	if after := len(w.Records(t, "acme")); after != before {
		t.Errorf("%d records were written", after-before)
	}
	w.Apply(t, "acme", func(d *registry.Document) { d.Issuers[0].TokenTypes = []string{registry.TokenTypeJWT} })
	_, err = s.Identify(t.Context(), "acme", token, exchangetest.Audience, nonce)
	want(t, exchange.ReasonOf(err), exchange.SubjectTokenInvalid) // its issuer is for no ID tokens any more
}
