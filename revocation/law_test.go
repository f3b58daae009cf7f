package revocation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// node is a token of a tree as it was made: who made it of what. The model looks at these, and never at a claim.
type node struct {
	parent               *node
	org                  delegation.OrgID
	user, session        string // of the root's login
	agent, client, scope string
	login, minted        int // seconds
	id                   string
}

// any reports whether a node or one that it descends from is as f says.
func (n *node) any(f func(*node) bool) bool { return n != nil && (f(n) || n.parent.any(f)) }

func (n *node) root() *node {
	for n.parent != nil {
		n = n.parent
	}
	return n
}

// claims are what the token of a node says.
func (n *node) claims(t *rapid.T) *delegation.Claims {
	r := n.root()
	c := &delegation.Claims{OrgID: n.org, ID: n.id, Transaction: "txn-" + r.id, Subject: r.user, SessionID: r.session, ClientID: n.client,
		Scope: scopes(t, n.scope), IssuedAt: at(n.minted), SubjectIssuedAt: at(r.login), Expiry: at(n.minted + 60)}
	var path []*node
	for a := n; a != nil; a = a.parent {
		path = append(path, a)
	}
	for _, a := range slices.Backward(path) {
		c.Actor = &delegation.Actor{Subject: a.agent, Act: c.Actor}
		if a != n {
			c.Lineage = append(c.Lineage, a.id)
		}
	}
	return c
}

// grow draws a forest: trees of up to four hops, some with a fan-out of fifty under the root, their parents dead or alive.
func grow(t *rapid.T) (all []*node) {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	for range rapid.IntRange(1, 4).Draw(t, "trees") {
		login := rapid.IntRange(0, 500).Draw(t, "login")
		root := &node{org: delegation.OrgID(pick("org", "acme", "globex")), user: pick("user", "u1", "u2"), session: pick("session", "", "s1", "s2"),
			login: login, minted: login + rapid.IntRange(0, 300).Draw(t, "after")}
		tree := []*node{root}
		for range rapid.IntRange(0, 6).Draw(t, "tokens") {
			tree = append(tree, &node{parent: rapid.SampledFrom(tree[:min(len(tree), 4)]).Draw(t, "parent")})
		}
		if rapid.IntRange(0, 4).Draw(t, "fan") == 0 {
			for range 50 {
				tree = append(tree, &node{parent: root})
			}
		}
		for _, n := range tree {
			n.id = fmt.Sprint("jti-", len(all))
			n.agent, n.client = pick("agent", "a1", "a2", "a3"), pick("client", "c1", "c2")
			n.scope = pick("scope", "github:read", "slack:write", "githubx:read")
			if n.parent != nil {
				n.org, n.minted = root.org, n.parent.minted+rapid.IntRange(0, 300).Draw(t, "later") // past its life, as a late replica might
			}
			all = append(all, n)
		}
	}
	return all
}

// hit is the law, over how tokens were made: RV7 and DESIGN §7.
func hit(e store.Revocation, n *node, now time.Time) bool {
	r := n.root()
	if e.Org != n.org || now.After(e.Until) || e.Scope != "" && !strings.HasPrefix(n.scope, e.Scope) {
		return false
	}
	when := !at(min(r.login, n.minted)).After(e.Before) && !at(n.minted).Before(e.Since)
	switch Kind(e.Kind) {
	case Token:
		return n.any(func(a *node) bool { return a.id == e.ID })
	case Transaction:
		return "txn-"+r.id == e.ID
	case Subject:
		return when && r.user == e.ID
	case Session:
		return when && r.session == e.ID && e.ID != ""
	case Agent:
		return when && n.any(func(a *node) bool { return a.agent == e.ID })
	case Client:
		return when && n.client == e.ID
	case Org:
		return when && string(n.org) == e.ID
	}
	return false
}

// TestLaw: RV7, SS7. Over random forests, and whatever is revoked of them, exactly the descendants of what is revoked are refused
// and nothing else is touched; and a preview of each entry says the same.
func TestLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all, now := grow(t), at(rapid.IntRange(0, 2500).Draw(t, "now"))
		var entries []store.Revocation
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			n := rapid.SampledFrom(all).Draw(t, "of")
			kinds := map[Kind]string{Token: n.id, Transaction: "txn-" + n.root().id, Subject: n.root().user, Session: n.root().session,
				Agent: n.agent, Client: n.client, Org: string(n.org)}
			kind := rapid.SampledFrom([]Kind{Token, Transaction, Subject, Session, Agent, Client, Org}).Draw(t, "kind")
			e := entry(kind, kinds[kind], rapid.IntRange(0, 1000).Draw(t, "before"))
			e.Org = n.org
			e = with(e, rapid.SampledFrom([]string{"", "", "github:"}).Draw(t, "scope"), rapid.SampledFrom([]int{0, 0, 300, 600}).Draw(t, "since"))
			entries = append(entries, e)
		}
		set := fresh(entries...)
		for _, n := range all {
			want := false
			for _, e := range entries {
				alone := hit(e, n, now)
				want = want || alone
				if Of(e).Refuse(n.claims(t), now) != alone {
					t.Fatalf("a preview of %+v is not the law for %+v of %+v", e, n, n.root())
				}
			}
			if err := set.Check(n.claims(t), now); errors.Is(err, delegation.ErrRevoked) != want {
				t.Fatalf("%v for %+v of %+v, by %+v", err, n, n.root(), entries)
			}
		}
	})
}
