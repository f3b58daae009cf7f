package connection_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// apart is two orgs that look the same: provider, connection ids, users, client ids, service accounts. Two processes serve both.
type apart struct {
	w       *world
	c       *cloud
	offices []*office
	used    map[delegation.OrgID]*atomic.Int64 // how often a credential was opened
	granted map[delegation.OrgID]*atomic.Int64
	minted  map[delegation.OrgID]*atomic.Int64
	crossed atomic.Int64
}

var orgs = []delegation.OrgID{"acme", "globex"}

func otherOrg(org delegation.OrgID) delegation.OrgID {
	if org == orgs[0] {
		return orgs[1]
	}
	return orgs[0]
}

// TestOrgsStayApart: whatever two orgs with the same names do at the same time, over two processes, no call of one gets a credential
// of the other, and nothing that belongs to one's attempt to connect moves the other's (isolation of tenants, EX7).
func TestOrgsStayApart(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, w *world) {
		c := newCloud(t)
		c.hold = func() { time.Sleep(2 * time.Millisecond) } // as long as a provider takes, so that more happens at the same time
		a := &apart{w: w, c: c, used: map[delegation.OrgID]*atomic.Int64{}, granted: map[delegation.OrgID]*atomic.Int64{},
			minted: map[delegation.OrgID]*atomic.Int64{}}
		for range 2 {
			a.offices = append(a.offices, w.office(t, c, slog.DiscardHandler))
		}
		for _, org := range orgs {
			a.used[org], a.granted[org], a.minted[org] = &atomic.Int64{}, &atomic.Int64{}, &atomic.Int64{}
			a.offices[0].open(t, org, c)
		}
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		var all sync.WaitGroup
		for i := range uint64(6) {
			all.Go(func() {
				r := rand.New(rand.NewPCG(seed, i))
				for range 40 {
					a.step(ctx, t, r)
				}
			})
		}
		all.Wait()
		a.shredOne(ctx, t)
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, wrong := range c.wrong {
			t.Errorf("the provider saw that %s", wrong)
		}
		for _, org := range orgs {
			used, granted, minted := a.used[org].Load(), a.granted[org].Load(), a.minted[org].Load()
			t.Logf("%s: %d credentials opened, %d accounts connected, %d tokens minted", org, used, granted, minted)
			if used < 10 || granted < 2 || minted < 1 {
				t.Errorf("%s did too little to show anything: %d credentials opened, %d accounts connected, %d minted", org, used, granted, minted)
			}
		}
		if a.crossed.Load() < 3 {
			t.Error("too few attempts with the other org's links")
		}
	})
}

// step is one operation of any org in any process.
func (a *apart) step(ctx context.Context, t *testing.T, r *rand.Rand) {
	o, org := a.offices[r.IntN(len(a.offices))], orgs[r.IntN(len(orgs))]
	user := []string{"alice", "bob"}[r.IntN(2)]
	switch n := r.IntN(20); {
	case n < 6:
		a.use(ctx, t, o, org, user, n%2 == 0)
	case n < 9:
		a.mint(ctx, t, o, org, n == 8)
	case n < 12:
		a.connect(ctx, t, o, a.offices[r.IntN(len(a.offices))], org, user, n == 9)
	case n < 14:
		a.cross(ctx, t, o, org, user)
	case n == 14: // a key of one's own, at the same id
		secret := a.c.owns(org, fmt.Sprintf("canary-key-%016x", r.Uint64()))
		_ = o.put(ctx, org, connection.Link{ID: "key", Provider: "keys", Pattern: connection.APIKey, Subject: subject(org, "alice"),
			Credential: vault.NewCredential("", []byte(secret))})
		a.opens(ctx, t, o, org, "key", "key")
	case n == 15:
		id := []string{"notes-alice", "notes-bob", "robot", "key"}[r.IntN(4)]
		if c, err := o.links.Get(ctx, org, id); err == nil && r.IntN(2) == 0 {
			_ = o.links.End(ctx, org, c, "ended by an administrator")
		} else if err == nil {
			_ = o.links.Delete(ctx, org, id, 0)
		}
	case n == 16:
		if err := o.register(ctx, org, a.c, []string{"notes", "issuer/okta"}[r.IntN(2)]); err != nil && !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: a client: %v", org, err)
		}
	case n == 17:
		a.rotate(ctx, o, org)
	case n == 18 && r.IntN(3) == 0:
		if _, err := o.links.Shred(ctx, org); err != nil {
			t.Errorf("%s: shred: %v", org, err)
		}
		for _, name := range []string{"notes", "issuer/okta"} {
			_ = o.register(ctx, org, a.c, name)
		}
	case n == 19: // both at the same time, in one process, with tokens that have ended
		a.w.clock.advance(2 * time.Minute)
		var both sync.WaitGroup
		for _, each := range orgs {
			both.Go(func() { a.use(ctx, t, o, each, user, false) })
		}
		both.Wait()
	default:
		a.w.clock.advance(time.Duration(r.IntN(30)) * time.Second)
	}
}

func (o *office) put(ctx context.Context, org delegation.OrgID, k connection.Link) error {
	p, err := o.links.Propose(ctx, org, k)
	if err != nil {
		return err
	}
	return o.links.Put(ctx, org, p)
}

// use does what a call of a user's agent does, and holds what it would spend against whose it is.
func (a *apart) use(ctx context.Context, t *testing.T, o *office, org delegation.OrgID, user string, renew bool) {
	conns, err := o.org(org).ConnectionsFor(ctx, "notes", subject(org, user))
	if err != nil {
		t.Errorf("%s: %v", org, err)
		return
	}
	c, err := connection.Choose(conns, "notes", subject(org, user), "")
	if err != nil || c.Pattern != string(connection.OAuth) {
		return
	}
	ready, out := o.keeper.Ready(ctx, org, c, nil)
	if out.Good() && renew {
		ready, out = o.keeper.Renew(ctx, org, ready, nil)
	}
	if out.Good() {
		a.opened(ctx, t, o, org, ready, user)
	}
}

func (a *apart) mint(ctx context.Context, t *testing.T, o *office, org delegation.OrgID, again bool) {
	c, err := o.links.Get(ctx, org, "robot")
	if err != nil || !connection.Holds(c) {
		secret := a.c.owns(org, "canary-robot-of-"+string(org))
		_ = o.put(ctx, org, connection.Link{ID: "robot", Provider: "notes", Pattern: connection.ServiceAccount,
			Credential: vault.NewCredential("client-1", []byte(secret))})
		return
	}
	mint := o.keeper.Ready
	if again {
		mint = o.keeper.Renew
	}
	ready, out := mint(ctx, org, c, []string{"notes:read"})
	if out.Good() && a.opened(ctx, t, o, org, ready, "robot") {
		a.minted[org].Add(1)
	}
}

// opened opens a credential and says whether it did. Nothing of it opens for the other org.
func (a *apart) opened(ctx context.Context, t *testing.T, o *office, org delegation.OrgID, c store.Connection, user string) (did bool) {
	err := o.vault.Use(ctx, org, c, func(credential vault.Credential) error {
		did = true
		for _, token := range []string{string(credential.Reveal()), string(credential.Refresh())} {
			// A token that was spent or revoked meanwhile is nobody's any more.
			if owner := a.c.whose(token); owner != "" && owner != string(org)+" "+user {
				t.Errorf("a call of %s of %s got a token of %q", user, org, owner)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, vault.ErrOpen) && !errors.Is(err, vault.ErrDestroyed) { // rotated or shredded meanwhile
		t.Errorf("%s: %v", org, err)
	}
	if did {
		a.used[org].Add(1)
	}
	if err := o.vault.Use(ctx, otherOrg(org), c, func(vault.Credential) error { return nil }); err == nil {
		t.Errorf("a credential of %s opens for the other org", org)
	}
	return did
}

// opens reads a connection and holds its key against whose it is.
func (a *apart) opens(ctx context.Context, t *testing.T, o *office, org delegation.OrgID, id, prefix string) {
	c, err := o.links.Get(ctx, org, id)
	if err != nil || !connection.Holds(c) {
		return
	}
	_ = o.vault.Use(ctx, org, c, func(credential vault.Credential) error {
		a.c.mu.Lock()
		defer a.c.mu.Unlock()
		if got := a.c.secrets[string(credential.Reveal())]; got != string(org) || !strings.HasPrefix(string(credential.Reveal()), "canary-"+prefix) {
			t.Errorf("connection %s of %s has a secret of %q", id, org, got)
		}
		return nil
	})
}

// connect takes a user through the pages, each step in another process.
func (a *apart) connect(ctx context.Context, t *testing.T, o, second *office, org delegation.OrgID, user string, reconnect bool) {
	wish := connection.Wish{Subject: subject(org, user), Agent: "agent", Provider: "notes", Connection: "notes-" + user, Scopes: []string{"notes:read"}}
	var link string
	if reconnect { // its links are remembered
		link, _ = o.connector.Reconnect(ctx, org, wish)
	} else if got, err := o.connector.Authorize(ctx, org, wish); err == nil {
		link = got.URL
	}
	if link == "" {
		return
	}
	of, id, _ := strings.Cut(strings.TrimPrefix(link, "http://127.0.0.1/connect/"), ".")
	if of != string(org) {
		t.Errorf("the link of %s is %s", org, link)
		return
	}
	v := &visit{org: org, user: user, id: id}
	if _, err := o.signIn(ctx, a.c, v); err != nil {
		return
	}
	if _, err := second.grant(ctx, a.c, v); err != nil {
		return
	}
	done, err := o.connector.Wait(ctx, org, subject(org, user), id, 0)
	if err == nil && done.Status == connection.StatusActive {
		a.granted[org].Add(1)
		if c, err := o.links.Get(ctx, org, done.Connection); err == nil && connection.Holds(c) {
			a.opened(ctx, t, o, org, c, user)
		}
	}
}

// cross tries everything of one org's attempt at the other's.
func (a *apart) cross(ctx context.Context, t *testing.T, o *office, org delegation.OrgID, user string) {
	other := otherOrg(org)
	got, err := o.connector.Authorize(ctx, org, connection.Wish{Subject: subject(org, user), Provider: "notes", Connection: "notes-cross"})
	if err != nil || got.URL == "" {
		return
	}
	v := &visit{org: org, user: user, id: got.ID}
	to, cookie, err := o.connector.BeginSignIn(ctx, org, got.ID)
	if err != nil {
		return
	}
	answer := a.c.browser(to, org, user)
	swapped := answer
	swapped.State = string(other) + strings.TrimPrefix(answer.State, string(org))
	_, _, finish := o.connector.Finish(ctx, swapped, cookie)
	_, view := o.connector.View(ctx, other, got.ID, cookie)
	_, _, signIn := o.connector.BeginSignIn(ctx, other, got.ID)
	_, grant := o.connector.BeginGrant(ctx, other, got.ID, cookie)
	key := o.connector.EnterKey(ctx, other, got.ID, cookie, connection.Key{Secret: []byte("canary-key-of-nobody")})
	_, wait := o.connector.Wait(ctx, other, subject(other, user), got.ID, 0)
	_, theirs := o.connector.Authorize(ctx, other, connection.Wish{Subject: subject(org, user), Provider: "notes"})
	for name, err := range map[string]error{"finish": finish, "view": view, "sign in": signIn, "grant": grant, "key": key} {
		if !errors.Is(err, connection.ErrLink) {
			t.Errorf("%s of the other org's attempt: %v", name, err)
		}
	}
	if !errors.Is(wait, store.ErrNotFound) || !errors.Is(theirs, connection.ErrInvalid) {
		t.Errorf("waiting for the other org's attempt: %v; for its user: %v", wait, theirs)
	}
	// The same user name of the other org is somebody else: what it signs in with is nobody's here.
	v.cookie = cookie
	if _, _, err := o.connector.Finish(ctx, a.foreign(answer, other, user), cookie); err == nil {
		t.Error("a sign-in of the other org's user of the same name counts")
	}
	a.crossed.Add(1)
}

// foreign is an answer whose code is one that a user of another org got.
func (a *apart) foreign(answer connection.Answer, org delegation.OrgID, user string) connection.Answer {
	theirs := a.c.browser("http://issuer/sign-in?nonce=x&code_challenge=x", org, user)
	answer.Code = theirs.Code
	return answer
}

func (a *apart) rotate(ctx context.Context, o *office, org delegation.OrgID) {
	now, err := o.rotator.Renew(ctx, org)
	if err != nil || now.Take(ctx) != nil {
		return
	}
	if o.rotator.Walk(ctx, org, func() error { return nil }) != nil {
		return
	}
	for _, id := range now.Before {
		if drop, err := o.rotator.Drop(ctx, org, id); err == nil {
			_ = drop.Take(ctx) // not while somebody has sealed with it
		}
	}
}

// shredOne ends what acme has. What globex has goes on.
func (a *apart) shredOne(ctx context.Context, t *testing.T) {
	o, second := a.offices[0], a.offices[1]
	a.w.clock.advance(time.Hour) // no pause and no link of before counts
	for _, org := range orgs {
		for _, name := range []string{"notes", "issuer/okta"} { // the last ones may be sealed with a key that was shredded
			if err := o.register(ctx, org, a.c, name); err != nil {
				t.Fatal(err)
			}
		}
		_ = o.links.Delete(ctx, org, "robot", 0)
		a.mint(ctx, t, o, org, false)
		a.mint(ctx, t, second, org, false)
		_ = o.links.Delete(ctx, org, "notes-alice", 0)
		before := a.granted[org].Load()
		a.connect(ctx, t, o, second, org, "alice", false)
		if a.granted[org].Load() == before {
			t.Fatalf("%s cannot connect", org)
		}
	}
	if _, err := o.links.Shred(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	for _, each := range a.offices {
		for _, org := range orgs {
			used := a.used[org].Load()
			a.use(ctx, t, each, org, "alice", false)
			c, err := each.links.Get(ctx, org, "robot")
			if err != nil {
				t.Fatal(err)
			}
			if ready, out := each.keeper.Ready(ctx, org, c, []string{"notes:read"}); out.Good() {
				a.opened(ctx, t, each, org, ready, "robot")
			}
			opened := a.used[org].Load() - used
			if org == "acme" && opened != 0 || org == "globex" && opened != 2 {
				t.Errorf("after acme was shredded, %s opens %d credentials", org, opened)
			}
		}
	}
}

// TestNewConnectionOfOldID: EX7. Between that a connection is chosen and that it is ready, it may be deleted and its id be had by
// another user. A call for the one never gets the other's credential.
func TestNewConnectionOfOldID(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, w *world) {
		c := newCloud(t)
		o := w.office(t, c, slog.DiscardHandler)
		o.open(t, "acme", c)
		give := func(user string) store.Connection {
			c.mu.Lock()
			access, refresh := c.next("access", "acme", user), c.next("refresh", "acme", user)
			c.mu.Unlock()
			now := w.clock.now()
			conn := store.Connection{ID: "notes-1", Provider: "notes", Pattern: string(connection.OAuth), Subject: subject("acme", user),
				Status: connection.StatusActive, Version: 1, Created: now, Updated: now, Expires: now}
			var err error
			if conn.Sealed, err = o.vault.Seal(t.Context(), "acme", conn.ID, 1, vault.NewGrant([]byte(access), []byte(refresh))); err != nil {
				t.Fatal(err)
			}
			if err := o.org("acme").PutConnection(t.Context(), conn, ""); err != nil {
				t.Fatal(err)
			}
			return conn
		}
		alices := give("alice")
		if err := o.links.Delete(t.Context(), "acme", "notes-1", 0); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(time.Second)
		bobs := give("bob")
		if got, out := o.keeper.Ready(t.Context(), "acme", alices, nil); out.Result != connection.ResultRevoked || got.Subject != alices.Subject {
			t.Errorf("a call for alice: %s, the connection of %s", out.Result, got.Subject)
		}
		stored, err := o.links.Get(t.Context(), "acme", "notes-1")
		if err != nil {
			t.Fatal(err)
		}
		if got, out := o.keeper.Ready(t.Context(), "acme", stored, nil); !out.Good() || got.Subject != bobs.Subject {
			t.Errorf("a call for bob: %s, the connection of %s", out.Result, got.Subject)
		}
	})
}

// TestMintedTokensOfOldAccount: a service account that takes the place of a deleted one begins with its version 1 and its id. Tokens
// of the old one are not taken for its own; and after a rotation of the data key there are tokens that open.
func TestMintedTokensOfOldAccount(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, w *world) {
		ctx, c := t.Context(), newCloud(t)
		o := w.office(t, c, slog.DiscardHandler)
		o.open(t, "acme", c)
		a := &apart{w: w, c: c}
		token := func(secret string) (token string) {
			t.Helper()
			if secret != "" {
				if err := o.put(ctx, "acme", connection.Link{ID: "robot", Provider: "notes", Pattern: connection.ServiceAccount,
					Credential: vault.NewCredential("client-1", []byte(c.owns("acme", secret)))}); err != nil {
					t.Fatal(err)
				}
			}
			conn, err := o.links.Get(ctx, "acme", "robot")
			if err != nil {
				t.Fatal(err)
			}
			ready, out := o.keeper.Ready(ctx, "acme", conn, []string{"notes:read"})
			if !out.Good() {
				t.Fatal(out)
			}
			if err := o.vault.Use(ctx, "acme", ready, func(k vault.Credential) error { token = string(k.Reveal()); return nil }); err != nil {
				t.Fatal(err)
			}
			return token
		}
		first := token("canary-first-account")
		if again := token(""); again != first {
			t.Error("a token that is good is minted anew")
		}
		if err := o.links.Delete(ctx, "acme", "robot", 0); err != nil {
			t.Fatal(err)
		}
		second := token("canary-second-account")
		if second == first {
			t.Error("the new account gets a token of the old one")
		}
		a.rotate(ctx, o, "acme")
		if third := token(""); third == second {
			t.Error("the data key was not rotated")
		}
	})
}
