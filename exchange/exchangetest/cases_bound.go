package exchangetest

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
)

// build makes a request, as Case.Build.
type build = func(testing.TB, *World) (exchange.Credential, exchange.Request)

// proves makes one proof of an agent, as Case.Prove.
func proves(agent func(*World) Agent, change func(header, claims Claims)) func(testing.TB, *World, string, string) []string {
	return func(t testing.TB, w *World, method, uri string) []string {
		return []string{agent(w).Proof(t, w, method, uri, change)}
	}
}

func guarded(w *World) Agent { return w.Guarded }
func pinned(w *World) Agent  { return w.Pinned }
func teller(w *World) Agent  { return w.Teller }

// starts is an agent's first hop of alice.
func starts(agent func(*World) Agent) build {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		return agent(w).Credential(), FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
	}
}

// tells is the first hop of initech's teller.
func tells(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
	return w.Teller.AssertionCredential(t, w, nil), FirstHop(w.IDP.IDToken(t, "alice", tenant("initech")), "github:read")
}

// connected is build over a connection with the agent's certificate.
func connected(agent func(*World) Agent, build build) build {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		cred, req := build(t, w)
		cred.Certificates = []*x509.Certificate{agent(w).Certificate()}
		return cred, req
	}
}

// binding is what a token may be bound to.
type binding func(testing.TB, *World) *delegation.Confirmation

func toKey(agent func(*World) Agent) binding {
	return func(t testing.TB, w *World) *delegation.Confirmation {
		return &delegation.Confirmation{JKT: agent(w).JKT(t)}
	}
}

func toCertificate(agent func(*World) Agent) binding {
	return func(_ testing.TB, w *World) *delegation.Confirmation {
		return &delegation.Confirmation{X5T: agent(w).X5T()}
	}
}

// toSigner is the key that the agent signs its assertions with.
func toSigner(agent func(*World) Agent) binding {
	return func(_ testing.TB, w *World) *delegation.Confirmation {
		return &delegation.Confirmation{JKT: agent(w).Key.Key().Thumbprint()}
	}
}

func unbound(testing.TB, *World) *delegation.Confirmation { return nil }

// of is a token of alice that the orchestrator holds.
func (b binding) of(t testing.TB, w *World) string {
	t.Helper()
	return w.Token(t, w.Orchestrator, "github:read", func(_ *delegation.Subject, g *delegation.Grant) { g.Confirmation = b(t, w) })
}

// continues is the orchestrator's continuation of a token that is bound so.
func (b binding) continues(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
	return w.Orchestrator.Credential(), Next(b.of(t, w), "")
}

// handsOver is the orchestrator's delegation, of a token that is bound so, to an agent by its own assertion, which change
// changes.
func (b binding) handsOver(to func(*World) Agent, change func(testing.TB, *World, Claims)) build {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		r := Next(b.of(t, w), "")
		r.ActorToken, r.ActorTokenType = to(w).Assertion(t, w, to(w), func(c Claims) { change(t, w, c) }), exchange.TypeJWT
		return w.Orchestrator.Credential(), r
	}
}

// handsOverAsController is the same to the researcher by the orchestrator's own assertion.
func (b binding) handsOverAsController(change func(Claims)) build {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		r := Next(b.of(t, w), "")
		r.ActorToken, r.ActorTokenType = w.Orchestrator.Assertion(t, w, w.Researcher, change), exchange.TypeJWT
		return w.Orchestrator.Credential(), r
	}
}

// handsOverByToken is the same to the courier by a token of its own, which is bound in its turn.
func (b binding) handsOverByToken(own binding) build {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		r := Next(b.of(t, w), "")
		r.ActorToken = w.Token(t, w.Courier, "github:read", func(_ *delegation.Subject, g *delegation.Grant) { g.Confirmation = own(t, w) })
		r.ActorTokenType = exchange.TypeAccessToken
		return w.Orchestrator.Credential(), r
	}
}

// pickedUp is the courier's pick-up of a token of the orchestrator that is bound so.
func (b binding) pickedUp(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
	token := w.Token(t, w.Orchestrator, "github:read", func(_ *delegation.Subject, g *delegation.Grant) {
		g.MayAct, g.Confirmation = w.Courier.ID, b(t, w)
	})
	return w.Courier.Credential(), Next(token, "")
}

func plain(testing.TB, *World, Claims) {}

// naming puts a binding into an assertion or a login as its cnf.
func naming(b binding) func(testing.TB, *World, Claims) {
	return func(t testing.TB, w *World, c Claims) { c["cnf"] = b.claim(t, w) }
}

func (b binding) claim(t testing.TB, w *World) Claims {
	if k := b(t, w); k.X5T != "" {
		return Claims{"x5t#S256": k.X5T}
	} else {
		return Claims{"jkt": k.JKT}
	}
}

// loggedIn is the orchestrator's first hop with a login whose cnf is as given.
func loggedIn(cnf func(testing.TB, *World) any) build {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		return w.Orchestrator.Credential(), FirstHop(w.IDP.IDToken(t, "alice", func(c Claims) { c["cnf"] = cnf(t, w) }), "github:read")
	}
}

// is checks what a token is bound to, and what it is called (DP5, DP11, TX13).
func (b binding) is(t testing.TB, w *World, r exchange.Response) {
	t.Helper()
	want, got := b(t, w), w.Claims(t, r.AccessToken).Confirmation
	kind := "Bearer"
	if want != nil && want.JKT != "" {
		kind = "DPoP"
	}
	same(t, "token_type", r.TokenType, kind)
	if (got == nil) != (want == nil) || got != nil && *got != *want {
		t.Errorf("bound to %+v, want %+v", got, want)
	}
}

// boundAnswers are the four cases of ACT9.
func boundAnswers() []Case {
	own, next, other := toKey(orchestrator), toKey(courier), toSigner(courier)
	return []Case{
		{Name: "DP5 a proof binds the token to its key", Build: starts(orchestrator), Prove: proves(orchestrator, nil), Check: own.is},
		{Name: "DP5 an agent with dpop_bound_access_tokens", Build: starts(guarded), Prove: proves(guarded, nil), Check: toKey(guarded).is},
		{Name: "DP2 htu in another spelling", Build: starts(orchestrator), Prove: func(t testing.TB, w *World, method, uri string) []string {
			return []string{w.Orchestrator.Proof(t, w, method, respell(t, uri), nil)}
		}, Check: own.is},
		{Name: "TX12 a jwt that is asked for is an access token by another name", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			cred, r := starts(orchestrator)(t, w)
			r.RequestedTokenType = exchange.TypeJWT
			return cred, r
		}, Prove: proves(orchestrator, nil), Check: func(t testing.TB, w *World, r exchange.Response) {
			same(t, "issued_token_type", r.IssuedTokenType, exchange.TypeJWT)
			own.is(t, w, r)
		}},
		{Name: "MT1 an agent with tls_client_certificate_bound_access_tokens", Build: connected(pinned, starts(pinned)), Check: toCertificate(pinned).is},
		{Name: "MT1 a certificate alone binds nobody else's token", Build: connected(orchestrator, starts(orchestrator)), Check: binding(unbound).is},
		{Name: "DP11 a proof wins over a certificate", Build: connected(pinned, starts(pinned)), Prove: proves(pinned, nil), Check: toKey(pinned).is},
		{Name: "FA1 a proof", Build: tells, Prove: proves(teller, nil), Check: toKey(teller).is},
		{Name: "FA1 a certificate", Build: connected(teller, tells), Check: toCertificate(teller).is},
		{Name: "JG5 a login that is bound", Build: loggedIn(func(t testing.TB, w *World) any { return own.claim(t, w) }), Prove: proves(orchestrator, nil), Check: own.is},
		{Name: "JG5 a login that is bound to a certificate", Build: connected(orchestrator, loggedIn(func(t testing.TB, w *World) any {
			return toCertificate(orchestrator).claim(t, w)
		})), Check: toCertificate(orchestrator).is},

		{Name: "ACT9 continuation keeps the key", Build: own.continues, Prove: proves(orchestrator, nil), Check: own.is},
		{Name: "ACT9 continuation keeps the certificate", Build: connected(orchestrator, toCertificate(orchestrator).continues), Check: toCertificate(orchestrator).is},
		{Name: "ACT9 continuation keeps the certificate beside a proof", Build: connected(orchestrator, toCertificate(orchestrator).continues),
			Prove: proves(orchestrator, nil), Check: toCertificate(orchestrator).is},
		{Name: "ACT9 continuation of an unbound token with a proof", Build: binding(unbound).continues, Prove: proves(orchestrator, nil), Check: own.is},
		{Name: "ACT9 continuation with an actor_token of one's own that names the key", Build: own.handsOver(orchestrator, naming(own)),
			Prove: proves(orchestrator, nil), Check: own.is},

		{Name: "ACT9 delegation that nobody wants bound", Build: binding(unbound).handsOver(courier, plain), Check: binding(unbound).is},
		{Name: "ACT9 delegation of a bound token: to the key of the next agent's assertion", Build: own.handsOver(courier, plain),
			Prove: proves(orchestrator, nil), Check: other.is},
		{Name: "ACT9 delegation: to the key that the next agent names", Build: own.handsOver(courier, naming(next)), Prove: proves(orchestrator, nil), Check: next.is},
		{Name: "ACT9 delegation: to the certificate that the next agent names", Build: binding(unbound).handsOver(courier, naming(toCertificate(courier))),
			Check: toCertificate(courier).is},
		{Name: "ACT9 delegation of an unbound token: to the key that the next agent names", Build: binding(unbound).handsOver(courier, naming(next)), Check: next.is},
		{Name: "DP5 delegation with a proof: the token is bound, and to the next agent's key", Build: binding(unbound).handsOver(courier, plain),
			Prove: proves(orchestrator, nil), Check: other.is},
		{Name: "DP5 delegation to an agent with dpop_bound_access_tokens", Build: binding(unbound).handsOver(guarded, plain), Check: toSigner(guarded).is},
		{Name: "ACT9 delegation by the next agent's bound token", Build: own.handsOverByToken(next), Prove: proves(orchestrator, nil), Check: next.is},

		{Name: "ACT9 pick-up of a token that is bound to the next agent's key", Build: next.pickedUp, Prove: proves(courier, nil), Check: next.is},
		{Name: "ACT9 pick-up of an unbound token with a proof", Build: binding(unbound).pickedUp, Prove: proves(courier, nil), Check: next.is},
		{Name: "ACT9 pick-up of an unbound token", Build: binding(unbound).pickedUp, Check: binding(unbound).is},
	}
}

// respell writes a URI differently, in the ways that RFC 9449 §4.3 calls the same.
func respell(t testing.TB, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	must(t, err)
	port := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	if u.Port() != "" {
		port = ""
	}
	return strings.ToUpper(u.Scheme) + "://" + strings.ToUpper(u.Host) + port + u.EscapedPath()
}

// bindingRefusals: a bound token is worth nothing without its key, and no key is the next agent's unless it says so itself.
func bindingRefusals() []Case {
	own, next := toKey(orchestrator), toKey(courier)
	anything := func(value any) func(testing.TB, *World) any { return func(testing.TB, *World) any { return value } }
	named := func(value any) func(testing.TB, *World, Claims) {
		return func(_ testing.TB, _ *World, c Claims) { c["cnf"] = value }
	}
	thumbprint := strings.Repeat("A", 43)
	subject := []Case{
		{Name: "ACT9 a bound token without a proof", Build: own.continues},
		{Name: "ACT9 a bound token with a proof of another key", Build: own.continues, Prove: proves(courier, nil)},
		{Name: "ACT9 a token that is bound to a certificate, without it", Build: toCertificate(orchestrator).continues},
		{Name: "ACT9 a token that is bound to a certificate, with another", Build: connected(courier, toCertificate(orchestrator).continues)},
		{Name: "ACT9 a token that is bound to a certificate, with a proof", Build: toCertificate(orchestrator).continues, Prove: proves(orchestrator, nil)},
		{Name: "ACT9 a token that is bound to a key, with a certificate", Build: connected(orchestrator, own.continues)},
		{Name: "ACT9 delegation of a bound token without a proof", Build: own.handsOver(courier, naming(next))},
		{Name: "ACT9 delegation of a bound token with the next agent's proof", Build: own.handsOver(courier, naming(next)), Prove: proves(courier, nil)},
		{Name: "ACT9 pick-up of a bound token without a proof", Build: own.pickedUp},
		{Name: "ACT9 pick-up of a bound token with a proof of another key", Build: own.pickedUp, Prove: proves(courier, nil)},
		{Name: "JG5 a bound login without a proof", Build: loggedIn(func(t testing.TB, w *World) any { return own.claim(t, w) })},
		{Name: "JG5 a bound login with a proof of another key", Build: loggedIn(func(t testing.TB, w *World) any { return next.claim(t, w) }),
			Prove: proves(orchestrator, nil)},
		{Name: "DP11 a login with two members in cnf", Build: loggedIn(anything(Claims{"jkt": thumbprint, "x5t#S256": thumbprint}))},
		{Name: "JG5 a login with a cnf of another kind", Build: loggedIn(anything(Claims{"kid": thumbprint}))},
		{Name: "JG5 a login with a cnf that is empty", Build: loggedIn(anything(Claims{}))},
		{Name: "JG5 a login with a cnf that is null", Build: loggedIn(anything((*int)(nil)))},
		{Name: "JG5 a login with a cnf that is no object", Build: loggedIn(anything("x"))},
	}
	for i := range subject {
		subject[i].Want, subject[i].Field = exchange.SubjectTokenInvalid, "subject_token"
	}
	actor := []Case{
		{Name: "ACT9 delegation of a bound token by a controller", Build: own.handsOverAsController(nil), Prove: proves(orchestrator, nil)},
		{Name: "ACT9 delegation with a proof by a controller", Build: binding(unbound).handsOverAsController(nil), Prove: proves(orchestrator, nil)},
		{Name: "ACT9 a controller names a key for another agent", Build: binding(unbound).handsOverAsController(func(c Claims) {
			c["cnf"] = Claims{"jkt": thumbprint}
		})},
		{Name: "ACT9 delegation of a bound token by the next agent's unbound token", Build: own.handsOverByToken(unbound), Prove: proves(orchestrator, nil)},
		{Name: "ACT9 an actor_token of one's own that names a key that is not proven", Build: binding(unbound).handsOver(orchestrator, naming(next))},
		{Name: "ACT9 an actor_token of one's own that names another key than the proof's", Build: binding(unbound).handsOver(orchestrator, naming(next)),
			Prove: proves(orchestrator, nil)},
		{Name: "MT1 delegation to an agent that uses certificates, and names none", Build: binding(unbound).handsOver(pinned, plain)},
		{Name: "DP5 delegation to an agent that uses DPoP, and names a certificate", Build: binding(unbound).handsOver(guarded, naming(toCertificate(guarded)))},
		{Name: "DP11 an actor_token with two members in cnf", Build: binding(unbound).handsOver(courier, named(Claims{"jkt": thumbprint, "x5t#S256": thumbprint}))},
		{Name: "ACT9 an actor_token with a cnf of another kind", Build: binding(unbound).handsOver(courier, named(Claims{"jwk": Claims{}}))},
		{Name: "ACT9 an actor_token with a jkt that is none", Build: binding(unbound).handsOver(courier, named(Claims{"jkt": "x"}))},
		{Name: "ACT9 an actor_token with a jkt that is a number", Build: binding(unbound).handsOver(courier, named(Claims{"jkt": 1}))},
		{Name: "ACT9 an actor_token with a cnf that is null", Build: binding(unbound).handsOver(courier, named((*int)(nil)))},
	}
	for i := range actor {
		actor[i].Want, actor[i].Field = exchange.ActorTokenInvalid, "actor_token"
	}
	return append(subject, actor...)
}
