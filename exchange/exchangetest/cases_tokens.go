package exchangetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/revocation"
)

// Inquiry is one logical question about a token (RFC 7662), or the wish to revoke it (RFC 7009), through any door.
type Inquiry struct {
	Name   string // begins with the rule or the threat that it guards
	Build  func(t testing.TB, w *World) (cred exchange.Credential, token string)
	Want   exchange.Reason // "" for success
	Field  string          // of a refusal
	Active bool            // of an introspection: the answer; of a revocation: whether the token lives on
	Check  func(t testing.TB, w *World, members map[string]any)
}

// NewInquiryWorld is a world whose tokens can be asked about and revoked: the courier introspects tokens for the executor, the
// researcher those for the reports; in globex, the stranger those for the executor.
func NewInquiryWorld(t testing.TB) *World {
	t.Helper()
	w := NewWorld(t)
	readBy := func(uri, agent string) func(*registry.Document) {
		return func(d *registry.Document) {
			for i := range d.Resources {
				if d.Resources[i].URI == uri {
					d.Resources[i].Introspectors = []string{agent}
				}
			}
		}
	}
	w.Apply(t, Acme, readBy(Executor, w.Courier.Name))
	w.Apply(t, Acme, readBy(Reports, w.Researcher.Name))
	w.Apply(t, Globex, readBy(Executor, w.Stranger.Name))
	cfg := w.Config()
	cfg.Revoker = w.Revoker(t)
	var err error
	w.Service, err = exchange.New(cfg)
	must(t, err)
	return w
}

// Admin is the configuration of this world's administration.
func (w *World) Admin() admin.Config {
	return admin.Config{
		Orgs:        w.Store.OrgsPage,
		Config:      func(id delegation.OrgID) admin.ConfigStore { return w.Store.Org(id) },
		Revocations: func(id delegation.OrgID) admin.RevocationStore { return w.Store.Org(id) },
		Activity:    func(id delegation.OrgID) admin.ActivityStore { return w.Store.Org(id) },
		Signals:     func(id delegation.OrgID) admin.SignalStore { return w.Store.Org(id) },
		Key:         w.Key,
		Directory:   func(id delegation.OrgID) admin.DirectoryStore { return w.Store.Org(id) },
		Registry:    w.Registry, Audit: w.Trail, Keys: w.Ring, Roles: w.Roles, Sync: w.Hub.Sync, MaxLife: time.Hour, Now: w.Clock.Now,
	}
}

// Revoker is what puts revocations into force in this world.
func (w *World) Revoker(t testing.TB) *admin.Service {
	t.Helper()
	s, err := admin.New(w.Admin())
	must(t, err)
	return s
}

// Alive reports whether a token verifies.
func (w *World) Alive(token string) bool {
	_, err := w.Verifier.Verify(context.Background(), token)
	return err == nil
}

// of asks about the orchestrator's own token of alice for the executor, with what change makes of it.
func of(
	who func(*World) Agent, change func(*World, *delegation.Subject, *delegation.Grant),
) func(testing.TB, *World) (exchange.Credential, string) {
	return func(t testing.TB, w *World) (exchange.Credential, string) {
		token := w.Token(t, w.Orchestrator, "github:read github:write", func(s *delegation.Subject, g *delegation.Grant) {
			if change != nil {
				change(w, s, g)
			}
		})
		return who(w).Credential(), token
	}
}

// saying asks about a text that is no good token.
func saying(token func(testing.TB, *World) string) func(testing.TB, *World) (exchange.Credential, string) {
	return func(t testing.TB, w *World) (exchange.Credential, string) {
		return w.Orchestrator.Credential(), token(t, w)
	}
}

func orchestrator(w *World) Agent { return w.Orchestrator }
func researcher(w *World) Agent   { return w.Researcher }
func courier(w *World) Agent      { return w.Courier }
func stranger(w *World) Agent     { return w.Stranger }

// dead are tokens that are none, or no more.
func dead() []Inquiry {
	at := func(d time.Duration) func(*World, *delegation.Subject, *delegation.Grant) {
		return func(w *World, _ *delegation.Subject, g *delegation.Grant) { g.Now = w.Clock.Now().Add(d) }
	}
	return []Inquiry{
		{Name: "unknown", Build: saying(func(testing.TB, *World) string { return "45ghiukldjahdnhzdauz" })},
		{Name: "a dot", Build: saying(func(testing.TB, *World) string { return "." })},
		{Name: "20 KiB", Build: saying(func(testing.TB, *World) string { return strings.Repeat("a", 20<<10) })},
		{Name: "expired", Build: of(orchestrator, at(-time.Hour))},
		{Name: "not yet valid", Build: of(orchestrator, at(30*time.Minute))},
		{Name: "of a provider", Build: saying(func(t testing.TB, w *World) string { return w.IDP.IDToken(t, "alice", nil) })},
		{Name: "signed by somebody else", Build: saying(func(t testing.TB, w *World) string {
			good := w.Token(t, w.Orchestrator, "github:read", nil)
			return good[:strings.LastIndex(good, ".")+1] + strings.Repeat("A", 86)
		})},
		{Name: "revoked", Build: func(t testing.TB, w *World) (exchange.Credential, string) {
			token := w.Token(t, w.Orchestrator, "github:read", nil)
			w.Revoke(t, Acme, revocation.Token, w.Claims(t, token).ID)
			return w.Orchestrator.Credential(), token
		}},
	}
}

func named(prefix string, list []Inquiry) []Inquiry {
	for i := range list {
		list[i].Name = prefix + " " + list[i].Name
	}
	return list
}

// nobody are askers without a right to ask.
func nobody(prefix string) []Inquiry {
	wrong := func(name string, cred exchange.Credential) Inquiry {
		return Inquiry{Name: name, Want: exchange.InvalidClient, Active: true,
			Build: func(t testing.TB, w *World) (exchange.Credential, string) {
				return cred, w.Token(t, w.Orchestrator, "github:read", nil)
			}}
	}
	return named(prefix, []Inquiry{
		wrong("no credential", exchange.Credential{}),
		wrong("a wrong secret", exchange.Credential{ClientID: "acme.orchestrator", Secret: "x"}),
		wrong("an unknown client", exchange.Credential{ClientID: "acme.nobody", Secret: "x"}),
		{Name: "no token", Build: saying(func(testing.TB, *World) string { return "" }), Want: exchange.InvalidRequest, Field: "token"},
	})
}

// Introspections is the table of questions. All of it can run in one NewInquiryWorld, in any order and at once.
func Introspections() []Inquiry {
	cases := named("IN2", dead())
	cases = append(cases, nobody("IN1")...)
	return append(cases, []Inquiry{
		{Name: "IN3 IN5 the introspector of its resource sees all of the scope, since a token is for one resource",
			Build: of(courier, nil), Active: true, Check: wholeToken},
		{Name: "IN3 the client that it was issued to", Build: of(orchestrator, nil), Active: true},
		{Name: "CA3 IN1 a client that asks with private_key_jwt", Build: func(t testing.TB, w *World) (exchange.Credential, string) {
			return w.Orchestrator.AssertionCredential(t, w, nil), w.Token(t, w.Orchestrator, "github:read", nil)
		}, Active: true},
		{Name: "IN6 ACT12 its actor, and the whole chain", Build: func(t testing.TB, w *World) (exchange.Credential, string) {
			return w.Researcher.Credential(), w.handed(t)
		}, Active: true, Check: func(t testing.TB, w *World, m map[string]any) {
			act, _ := m["act"].(map[string]any)
			before, _ := act["act"].(map[string]any)
			if act["sub"] != w.Researcher.ID || act["iss"] != Issuer || before["sub"] != w.Orchestrator.ID {
				t.Errorf("act %v", m["act"])
			}
		}},
		{Name: "IN3 who acted before is nobody now", Build: func(t testing.TB, w *World) (exchange.Credential, string) {
			third := w.Exchange(t, w.Researcher, w.HandOver(t, w.handed(t), "", w.Courier)).AccessToken
			return w.Orchestrator.Credential(), third
		}},
		{Name: "IN3 the introspector of another resource", Build: of(researcher, nil)},
		{Name: "IN3 RS2's token at RS1", Build: of(courier, func(_ *World, _ *delegation.Subject, g *delegation.Grant) {
			g.Audience = Reports
		})},
		{Name: "IN2 another org's introspector of the same resource", Build: of(stranger, nil)},
		{Name: "ACT12 may_act", Build: func(t testing.TB, w *World) (exchange.Credential, string) {
			token := w.Exchange(t, w.Orchestrator, mayAct(FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"), w.Researcher)).AccessToken
			return w.Courier.Credential(), token
		}, Active: true, Check: func(t testing.TB, w *World, m map[string]any) {
			if named, _ := m["may_act"].(map[string]any); named["sub"] != w.Researcher.ID {
				t.Errorf("may_act %v", m["may_act"])
			}
			if m["acr"] != "urn:test:mfa" || m["auth_time"] == nil || m["amr"] == nil { // IN6
				t.Errorf("members %v", m)
			}
		}},
		{Name: "DP7 IN6 bound by DPoP", Build: of(courier, func(_ *World, _ *delegation.Subject, g *delegation.Grant) {
			g.Confirmation = &delegation.Confirmation{JKT: strings.Repeat("A", 43)}
		}), Active: true, Check: bound("DPoP", "jkt")},
		{Name: "IN6 RA6 its authorization_details", Build: func(t testing.TB, w *World) (exchange.Credential, string) {
			r := FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
			r.AuthorizationDetails = payment
			return w.Courier.Credential(), w.Exchange(t, w.Orchestrator, r).AccessToken
		}, Active: true, Check: func(t testing.TB, _ *World, m map[string]any) {
			if list, _ := m["authorization_details"].([]any); len(list) != 1 || list[0].(map[string]any)["amount"] != float64(100) {
				t.Errorf("authorization_details %v", m["authorization_details"])
			}
		}},
		{Name: "MT1 IN6 bound by a certificate", Build: of(courier, func(_ *World, _ *delegation.Subject, g *delegation.Grant) {
			g.Confirmation = &delegation.Confirmation{X5T: strings.Repeat("A", 43)}
		}), Active: true, Check: bound("Bearer", "x5t#S256")},
	}...)
}

// handed is a token of alice that the orchestrator handed to the researcher.
func (w *World) handed(t testing.TB) string {
	t.Helper()
	return w.Exchange(t, w.Orchestrator, w.HandOver(t, w.Token(t, w.Orchestrator, "github:read", nil), "", w.Researcher)).AccessToken
}

func bound(tokenType, member string) func(testing.TB, *World, map[string]any) {
	return func(t testing.TB, _ *World, m map[string]any) {
		if cnf, _ := m["cnf"].(map[string]any); m["token_type"] != tokenType || len(cnf) != 1 || cnf[member] != strings.Repeat("A", 43) {
			t.Errorf("token_type %v, cnf %v", m["token_type"], m["cnf"])
		}
	}
}

// wholeToken wants every member that there is to be known, and none of what is not the asker's business.
func wholeToken(t testing.TB, w *World, m map[string]any) {
	t.Helper()
	for name, want := range map[string]any{
		"active": true, "iss": Issuer, "sub": "user:acme/okta|alice", "aud": Executor, "client_id": w.Orchestrator.ClientID,
		"org_id": "acme", "scope": "github:read github:write", "token_type": "Bearer",
		"iat": float64(w.Clock.Now().Unix()), "exp": float64(w.Clock.Now().Add(5 * time.Minute).Unix()),
	} {
		if m[name] != want {
			t.Errorf("%s: got %v, want %v", name, m[name], want)
		}
	}
	for _, name := range []string{"jti", "txn", "act"} {
		if m[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"lineage", "groups", "sid", "cnf", "may_act", "authorization_details", "nbf"} {
		if v, there := m[name]; there {
			t.Errorf("%s is told: %v", name, v)
		}
	}
}

// Revocations is the table of wishes. All of it can run in one NewInquiryWorld, in any order and at once.
func Revocations() []Inquiry {
	cases := named("RV1", dead())
	cases = append(cases, nobody("RV2")...)
	return append(cases, []Inquiry{
		{Name: "RV1 RV6 by the client that it was issued to", Build: of(orchestrator, nil)},
		{Name: "RV1 by the agent that acts", Build: func(t testing.TB, w *World) (exchange.Credential, string) {
			return w.Researcher.Credential(), w.handed(t)
		}},
		{Name: "RV1 a bound token, without a proof", Build: of(orchestrator, func(_ *World, _ *delegation.Subject, g *delegation.Grant) {
			g.Confirmation = &delegation.Confirmation{JKT: strings.Repeat("A", 43)}
		})},
		{Name: "RV2 by another client", Build: of(researcher, nil), Want: exchange.InvalidGrant, Active: true},
		{Name: "RV2 by the introspector of its resource", Build: of(courier, nil), Want: exchange.InvalidGrant, Active: true},
		{Name: "RV2 by another org's agent", Build: of(stranger, nil), Want: exchange.InvalidGrant, Active: true},
		{Name: "RV4 a transaction token", Build: saying(func(t testing.TB, w *World) string {
			return sign(t, w.Orchestrator.Key, delegation.TypeTransactionToken, Claims{"sub": "x"}, nil)
		}), Want: exchange.UnsupportedTokenType, Field: "token"},
		{Name: "RV4 an identity assertion grant", Build: saying(func(t testing.TB, w *World) string {
			return sign(t, w.Orchestrator.Key, delegation.TypeIDJAG, Claims{"sub": "x"}, nil)
		}), Want: exchange.UnsupportedTokenType, Field: "token"},
	}...)
}
