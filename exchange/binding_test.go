package exchange

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/store"
)

// profiled compiles an org without agents, under a profile.
func profiled(t *testing.T, document string) *registry.Org {
	t.Helper()
	org, err := registry.Compile(store.OrgConfig{Org: "acme", Version: 1, Document: []byte(document)}, store.OrgConfig{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return org
}

// TestBindingNeverLoosens: ACT9, DP5, DP11 and FA1 for whatever facts. Whoever gets a token has proven what its parent is bound to;
// a bound parent has bound children only; what a token is bound to is the acting agent's own; and who is registered for bound
// tokens gets no other.
func TestBindingNeverLoosens(t *testing.T) {
	t.Parallel()
	orgs := map[bool]*registry.Org{false: profiled(t, `{"org":"acme"}`), true: profiled(t, `{"org":"acme","profile":"fapi"}`)}
	rapid.Check(t, func(r *rapid.T) {
		f, h := drawFacts(r, orgs)
		parent := f.Subject.bound()
		key, err := f.binding(h)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Description == "" {
				r.Fatalf("%v", err)
			}
			return
		}
		if parent != nil && (key == nil || !possesses(f.Possession, parent)) {
			r.Fatalf("parent %+v, proven %+v, child %+v", parent, f.Possession, key)
		}
		if parent != nil && h != handOver && *key != *parent {
			r.Fatalf("the same holder got another key: %+v from %+v", key, parent)
		}
		actor := f.Client
		if h == handOver {
			actor = f.Actor
		}
		checkKey(r, f, h, key)
		switch own := actor.Registration; {
		case own.DPoPBound && (key == nil || parent == nil && key.JKT == ""):
			r.Fatalf("dpop_bound_access_tokens, and bound to %+v", key)
		case key == nil && f.accessToken() && (own.CertificateBound || f.Org.FAPI()):
			r.Fatal("a bearer token for who must not have one")
		case f.Possession.JKT != "" && key == nil:
			r.Fatal("a proof was sent, and the token is not bound")
		}
	})
}

// checkKey: the key is one, and it is its holder's own.
func checkKey(r *rapid.T, f Facts, h hop, key *delegation.Confirmation) {
	switch {
	case key == nil:
	case (key.JKT == "") == (key.X5T == ""):
		r.Fatalf("not exactly one member: %+v", key)
	case h != handOver && !possesses(f.Possession, key):
		r.Fatalf("bound to %+v, proven %+v", key, f.Possession)
	case h == handOver && !same(key, f.ActorKey) && !same(key, f.ActorSigner):
		r.Fatalf("bound to %+v, the actor has %+v and %+v", key, f.ActorKey, f.ActorSigner)
	case f.ActorKey != nil && !same(key, f.ActorKey):
		r.Fatalf("bound to %+v, the actor named %+v", key, f.ActorKey)
	}
}

func same(a, b *delegation.Confirmation) bool { return a != nil && b != nil && *a == *b }

func drawFacts(r *rapid.T, orgs map[bool]*registry.Org) (Facts, hop) {
	flag := func(label string) bool { return rapid.Bool().Draw(r, label) }
	key := func(label string) *delegation.Confirmation {
		return rapid.SampledFrom([]*delegation.Confirmation{nil, {JKT: "1"}, {JKT: "2"}, {X5T: "1"}, {X5T: "2"}}).Draw(r, label)
	}
	agent := func(label string) *registry.Client {
		return &registry.Client{Registration: registry.Agent{DPoPBound: flag(label + " dpop"), CertificateBound: flag(label + " certificate")}}
	}
	h := rapid.SampledFrom([]hop{firstHop, handOver, pickUp, continuation}).Draw(r, "hop")
	f := Facts{
		Org: orgs[flag("fapi")], Client: agent("client"), Actor: agent("actor"), ActorKey: key("actor's"),
		Possession: delegation.Possession{
			JKT: rapid.SampledFrom([]string{"", "1", "2"}).Draw(r, "jkt"), X5T: rapid.SampledFrom([]string{"", "1", "2"}).Draw(r, "x5t"),
		},
		Want: Want{IssuedType: rapid.SampledFrom([]string{TypeAccessToken, TypeJWT, TypeTxnToken}).Draw(r, "type")},
	}
	if flag("signed") {
		f.ActorSigner = &delegation.Confirmation{JKT: "signer"}
	}
	if h == firstHop {
		f.Subject.login = &login{bound: key("subject")}
	} else {
		f.Subject.claims.Confirmation = key("subject")
	}
	if h != handOver {
		f.Actor = f.Client
	}
	return f, h
}

// TestBindingOfOtherKinds: FA1 is about access tokens. What is none is not held to it, and stays bound to what its parent is.
func TestBindingOfOtherKinds(t *testing.T) {
	t.Parallel()
	f := Facts{Org: profiled(t, `{"org":"acme","profile":"fapi"}`), Client: &registry.Client{}, Want: Want{IssuedType: TypeIDJAG}}
	f.Subject.login = &login{}
	if key, err := f.binding(firstHop); key != nil || err != nil {
		t.Errorf("got %+v, %v", key, err)
	}
	f.Want.IssuedType = TypeAccessToken
	if _, err := f.binding(firstHop); ReasonOf(err) != InvalidProof {
		t.Errorf("FA1: got %v", err)
	}
}

// TestTokenType: TX13, DP5, MT1: how a token is to be presented follows from what it is and what it is bound to.
func TestTokenType(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, issued string
		key          *delegation.Confirmation
		want         string
	}{
		{"TX13 an access token", TypeAccessToken, nil, "Bearer"},
		{"TX12 a jwt is an access token", TypeJWT, nil, "Bearer"},
		{"DP5 bound to a DPoP key", TypeAccessToken, &delegation.Confirmation{JKT: "1"}, "DPoP"},
		{"DP5 a jwt bound to a DPoP key", TypeJWT, &delegation.Confirmation{JKT: "1"}, "DPoP"},
		{"MT1 bound to a certificate", TypeAccessToken, &delegation.Confirmation{X5T: "1"}, "Bearer"},
		{"TX13 an ID-JAG", TypeIDJAG, &delegation.Confirmation{JKT: "1"}, "N_A"},
		{"TX13 a transaction token", TypeTxnToken, nil, "N_A"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := Approval{claims: delegation.Claims{Confirmation: c.key}}
			if got := a.tokenType(&Facts{Want: Want{IssuedType: c.issued}}); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
