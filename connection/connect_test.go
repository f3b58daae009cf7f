package connection_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// attemptCase is what may happen while an account is connected. Each has an org and a cloud of its own.
type attemptCase struct {
	name string
	run  func(t *testing.T, w *world, o *office, c *cloud, v *visit)
}

func same(*connection.Answer) {}

var attempts = []attemptCase{
	{"all is well", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		if err := o.granted(t, c, v, same); err != nil {
			t.Fatal(err)
		}
		o.ends(t, v, connection.StatusActive, "")
		conn, err := o.links.Get(t.Context(), v.org, v.connection)
		if err != nil || conn.Status != connection.StatusActive || conn.Account != string(v.org)+" alice" || conn.Subject != subject(v.org, "alice") {
			t.Errorf("%+v %v", conn, err)
		}
		if page, err := o.connector.View(t.Context(), v.org, v.id, v.cookie); err != nil || page.Step != connection.StepDone {
			t.Errorf("%+v %v", page, err)
		}
	}},
	{"threat: another person opens the link", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		v.user = "bob"
		want(t, o.answered(t, c, v, same), connection.ErrNotYours)
		_, err := o.connector.BeginGrant(t.Context(), v.org, v.id, v.cookie)
		want(t, err, connection.ErrStep)
		if n := c.called("/token") + c.called("/me"); n != 0 {
			t.Errorf("the provider was asked %d times", n)
		}
		last := o.trail.records[len(o.trail.records)-1]
		if last.Outcome != audit.OutcomeRefused || last.Reason != "NOT_THE_USER" || last.Administrator != subject(v.org, "bob") ||
			last.Subject != subject(v.org, "alice") {
			t.Errorf("on the trail: %+v", last)
		}
	}},
	{"threat: nobody of the org signs in", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		v.user = "nobody"
		want(t, o.answered(t, c, v, same), connection.ErrNobody)
		if last := o.trail.records[len(o.trail.records)-1]; last.Reason != "SIGN_IN_REFUSED" {
			t.Errorf("on the trail: %+v", last)
		}
	}},
	{"the token server is away: nobody is let in", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		v.user = "down"
		if err := o.answered(t, c, v, same); err == nil || errors.Is(err, connection.ErrNobody) {
			t.Error(err)
		}
		_, err := o.connector.BeginGrant(t.Context(), v.org, v.id, v.cookie)
		want(t, err, connection.ErrStep)
	}},
	{"RFC 6749 10.12: another browser's cookie", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.answered(t, c, v, func(*connection.Answer) { v.cookie = "another" }), connection.ErrStep)
	}},
	{"RFC 6749 10.12: no cookie", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.answered(t, c, v, func(*connection.Answer) { v.cookie = "" }), connection.ErrStep)
	}},
	{"RFC 6749 10.12: no cookie at the provider's answer", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.granted(t, c, v, func(*connection.Answer) { v.cookie = "" }), connection.ErrStep)
		if c.called("/token") != 0 {
			t.Error("the code was spent")
		}
	}},
	{"threat: the link is opened by a second browser in between", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		err := o.granted(t, c, v, func(*connection.Answer) {
			if _, _, err := o.connector.BeginSignIn(t.Context(), v.org, v.id); err != nil {
				t.Error(err)
			}
		})
		want(t, err, connection.ErrStep)
	}},
	{"the state of another attempt", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		other := o.begin(t, v.org, connection.Wish{Subject: "alice", Provider: "notes", Connection: "second"})
		to, _, err := o.connector.BeginSignIn(t.Context(), v.org, other.id)
		if err != nil {
			t.Fatal(err)
		}
		theirs := c.browser(to, v.org, "alice")
		want(t, o.answered(t, c, v, func(a *connection.Answer) { a.State = theirs.State }), connection.ErrStep)
	}},
	{"no state", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.answered(t, c, v, func(a *connection.Answer) { a.State = "" }), connection.ErrLink)
	}},
	{"RFC 6749 4.1.2: an answer comes again", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		answer, err := o.signIn(t.Context(), c, v)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = o.connector.Finish(t.Context(), answer, v.cookie)
		want(t, err, connection.ErrStep)
		if answer, err = o.grant(t.Context(), c, v); err != nil {
			t.Fatal(err)
		}
		_, _, err = o.connector.Finish(t.Context(), answer, v.cookie)
		want(t, err, connection.ErrLink)
		o.ends(t, v, connection.StatusActive, "")
	}},
	{"two callbacks at once: one wins", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		var won int
		err := o.granted(t, c, v, func(a *connection.Answer) {
			var mu sync.Mutex
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					_, _, err := o.connector.Finish(t.Context(), *a, v.cookie)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						won++
					} else if !errors.Is(err, connection.ErrStep) && !errors.Is(err, connection.ErrLink) {
						t.Errorf("a loser hears %v", err)
					}
				})
			}
			all.Wait()
		})
		want(t, err, connection.ErrLink)
		if won != 1 || c.called("/token") != 1 {
			t.Errorf("%d won, the code was sent %d times", won, c.called("/token"))
		}
		o.ends(t, v, connection.StatusActive, "")
	}},
	{"RFC 9207: the issuer's answer is another's", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.answered(t, c, v, func(a *connection.Answer) { a.Issuer = "https://evil.example" }), connection.ErrNobody)
		if c.called("/issuer/token") != 0 {
			t.Error("the code was sent")
		}
	}},
	{"RFC 9207: an issuer that always says iss does not", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		c.iss = true
		want(t, o.answered(t, c, v, func(a *connection.Answer) { a.Issuer = "" }), connection.ErrNobody)
	}},
	{"an issuer that does not know iss", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.answered(t, c, v, func(a *connection.Answer) { a.Issuer = "" }), nil)
	}},
	{"RFC 9207: the provider's answer is another's", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.granted(t, c, v, func(a *connection.Answer) { a.Issuer = c.URL }), nil)
		o.ends(t, v, connection.StatusFailed, "did not come from")
		if c.called("/token") != 0 {
			t.Error("the code was sent")
		}
	}},
	{"RFC 9207: the provider does not say who it is", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.granted(t, c, v, func(a *connection.Answer) { a.Issuer = "" }), nil)
		o.ends(t, v, connection.StatusFailed, "did not come from")
	}},
	{"RFC 6749 4.1.2.1: access_denied", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.granted(t, c, v, func(a *connection.Answer) { a.Code, a.Error = "", "access_denied" }), nil)
		o.ends(t, v, connection.StatusDenied, "denied")
	}},
	{"RFC 6749 4.1.2.1: another error", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.granted(t, c, v, func(a *connection.Answer) { a.Code, a.Error = "", "<script>" }), nil)
		o.ends(t, v, connection.StatusFailed, "operator_config")
		if a := o.status(t, v); strings.Contains(a.Reason, "script") {
			t.Errorf("the provider's own text is shown: %s", a.Reason)
		}
	}},
	{"an answer without a code", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.answered(t, c, v, func(a *connection.Answer) { a.Code = "" }), connection.ErrNobody)
	}},
	{"RFC 7636 4.6: the code of another attempt", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.granted(t, c, v, func(a *connection.Answer) {
			a.Code = c.browser("http://x/authorize?code_challenge=another", v.org, "mallory").Code
		}), nil)
		o.ends(t, v, connection.StatusFailed, "invalid_grant")
	}},
	{"the code is refused", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		c.refuses = "invalid_client"
		want(t, o.granted(t, c, v, same), nil)
		o.ends(t, v, connection.StatusFailed, "operator_config")
	}},
	{"RFC 6749 5.1: fewer scopes are granted", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		c.scope = "read"
		want(t, o.granted(t, c, v, same), nil)
		o.ends(t, v, connection.StatusActive, "write")
		// What is missing is asked for; what is there is not.
		a, err := o.connector.Authorize(t.Context(), v.org, connection.Wish{Subject: subject(v.org, "alice"), Provider: "notes",
			Scopes: []string{"notes:read"}})
		if err != nil || a.Status != connection.StatusActive || a.URL != "" {
			t.Errorf("%+v %v", a, err)
		}
		again := o.begin(t, v.org, connection.Wish{Subject: "alice", Provider: "notes", Scopes: []string{"notes:write"}})
		if again.connection != v.connection {
			t.Error("another connection")
		}
	}},
	{"RFC 6749 5.1: no scope is said: as asked for", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		c.scope = ""
		want(t, o.granted(t, c, v, same), nil)
		if conn, err := o.links.Get(t.Context(), v.org, v.connection); err != nil || strings.Join(conn.Scopes, " ") != "read write" {
			t.Errorf("%v %v", conn.Scopes, err)
		}
	}},
	{"another account at a reconnection", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		c.scope = "read"
		want(t, o.granted(t, c, v, same), nil)
		before, err := o.links.Get(t.Context(), v.org, v.connection)
		if err != nil {
			t.Fatal(err)
		}
		c.account = "another@example.com"
		again := o.begin(t, v.org, connection.Wish{Subject: "alice", Provider: "notes", Scopes: []string{"notes:write"}})
		want(t, o.granted(t, c, again, same), nil)
		o.ends(t, again, connection.StatusFailed, "another account")
		if now, err := o.links.Get(t.Context(), v.org, v.connection); err != nil || now.Version != before.Version {
			t.Error("the connection was changed", err)
		}
		if len(c.revoked) != 1 {
			t.Errorf("%d grants were let go", len(c.revoked))
		}
	}},
	{"another account, which has a connection of its own: that one lives on", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		c.scope = "read"
		want(t, o.granted(t, c, v, same), nil)
		c.account = "another@example.com"
		second := o.begin(t, v.org, connection.Wish{Subject: "alice", Provider: "notes", Connection: "second", Scopes: []string{"notes:read"}})
		want(t, o.granted(t, c, second, same), nil)
		o.ends(t, second, connection.StatusActive, "")
		again := o.begin(t, v.org, connection.Wish{Subject: "alice", Provider: "notes", Connection: v.connection, Scopes: []string{"notes:write"}})
		want(t, o.granted(t, c, again, same), nil)
		o.ends(t, again, connection.StatusFailed, "another account")
		if len(c.revoked) != 0 {
			t.Errorf("%d grants were let go, and with them that of the second connection", len(c.revoked))
		}
	}},
	{"a grant without a refresh token: that of the same account stays, and of no other", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		c.scope = "read"
		want(t, o.granted(t, c, v, same), nil)
		refresh := func() string {
			conn, err := o.links.Get(t.Context(), v.org, v.connection)
			if err != nil {
				t.Fatal(err)
			}
			_, token := o.tokens(t, v.org, conn)
			return token
		}
		before := refresh()
		c.once, c.scope = true, "read write"
		again := o.begin(t, v.org, connection.Wish{Subject: "alice", Provider: "notes", Scopes: []string{"notes:write"}})
		want(t, o.granted(t, c, again, same), nil)
		o.ends(t, again, connection.StatusActive, "")
		if after := refresh(); before == "" || after != before {
			t.Errorf("the refresh token %q became %q", before, after)
		}
		second := o.begin(t, v.org, connection.Wish{Subject: "alice", Provider: "notes", Connection: "second", Scopes: []string{"notes:write"}})
		want(t, o.granted(t, c, second, same), nil)
		conn, err := o.links.Get(t.Context(), v.org, "second")
		if err != nil {
			t.Fatal(err)
		}
		if _, token := o.tokens(t, v.org, conn); token != "" {
			t.Errorf("a new connection has refresh token %q", token)
		}
	}},
	{"the connection is deleted meanwhile", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.granted(t, c, v, func(*connection.Answer) {
			if err := o.links.Delete(t.Context(), v.org, v.connection, 0); err != nil {
				t.Error(err)
			}
		}), nil)
		o.ends(t, v, connection.StatusFailed, "deleted")
		if c.called("/token") != 0 {
			t.Error("the code was spent")
		}
	}},
	{"the connection is deleted while the code is spent", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.granted(t, c, v, func(*connection.Answer) {
			c.hold = func() {
				if err := o.links.Delete(context.Background(), v.org, v.connection, 0); err != nil {
					t.Error(err)
				}
			}
		}), nil)
		o.ends(t, v, connection.StatusFailed, "deleted")
		if len(c.revoked) != 1 {
			t.Errorf("%d grants were let go", len(c.revoked))
		}
	}},
	{"the link is opened while the code is spent: it is connected all the same", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		want(t, o.granted(t, c, v, func(*connection.Answer) {
			c.hold = func() { _, _, _ = o.connector.BeginSignIn(context.Background(), v.org, v.id) }
		}), nil)
		o.ends(t, v, connection.StatusActive, "")
	}},
	{"the trail cannot be written: no code is spent", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		if err := o.granted(t, c, v, func(*connection.Answer) { o.trail.broken = errors.New("disk full") }); err == nil {
			t.Error("it went on")
		}
		if c.called("/token") != 0 {
			t.Error("the code was spent")
		}
	}},
	{"the org has no client", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		if err := o.clients.Delete(t.Context(), v.org, "notes", 1); err != nil {
			t.Fatal(err)
		}
		if _, err := o.signIn(t.Context(), c, v); err != nil {
			t.Fatal(err)
		}
		to, err := o.connector.BeginGrant(t.Context(), v.org, v.id, v.cookie)
		if to != "" || err != nil {
			t.Error(to, err)
		}
		o.ends(t, v, connection.StatusFailed, "operator_config")
	}},
	{"the link has expired", func(t *testing.T, w *world, o *office, c *cloud, v *visit) {
		if _, err := o.signIn(t.Context(), c, v); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(connection.AuthorizationLife + time.Second)
		_, err := o.connector.BeginGrant(t.Context(), v.org, v.id, v.cookie)
		want(t, err, connection.ErrLink)
		_, _, err = o.connector.BeginSignIn(t.Context(), v.org, v.id)
		want(t, err, connection.ErrLink)
		o.ends(t, v, connection.StatusExpired, "in time")
	}},
	{"threat: a page before the sign-in tells nothing of whose it is", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		if _, err := o.signIn(t.Context(), c, v); err != nil {
			t.Fatal(err)
		}
		for _, cookie := range []string{"", "another"} {
			page, err := o.connector.View(t.Context(), v.org, v.id, cookie)
			if err != nil || page.Step != connection.StepSignIn || page.Subject != "" || page.Account != "" || page.Allows != nil {
				t.Errorf("%+v %v", page, err)
			}
		}
	}},
	{"a key is no answer to a link for a grant", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		if _, err := o.signIn(t.Context(), c, v); err != nil {
			t.Fatal(err)
		}
		want(t, o.connector.EnterKey(t.Context(), v.org, v.id, v.cookie, connection.Key{Secret: []byte("canary-key-12345")}), connection.ErrStep)
	}},
	{"a link that leads nowhere is not offered again", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		wish := connection.Wish{Subject: subject(v.org, "alice"), Agent: "agent", Provider: "notes", Connection: v.connection}
		unnamed := wish // as a call wishes before there is a row that waits
		unnamed.Connection = ""
		first, err := o.connector.Reconnect(t.Context(), v.org, unnamed)
		if again, err2 := o.connector.Reconnect(t.Context(), v.org, wish); err != nil || err2 != nil || again != first || first == "" {
			t.Errorf("%s, then %s: %v %v", first, again, err, err2)
		}
		_, v.id, _ = strings.Cut(first, string(v.org)+".")
		want(t, o.granted(t, c, v, func(a *connection.Answer) { a.Error = "access_denied" }), nil)
		if again, err := o.connector.Reconnect(t.Context(), v.org, wish); err != nil || again == first {
			t.Errorf("a link that was used is offered: %v", err)
		}
	}},
	{"a key: refused, another browser's, accepted, once", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		keyed(t, o, c, v, "keys", "")
	}},
	{"a password: refused, another browser's, accepted, once", func(t *testing.T, _ *world, o *office, c *cloud, v *visit) {
		keyed(t, o, c, v, "doors", "alice")
	}},
	{"what cannot be wished for", wishes},
}

// keyed connects by a key of one's own.
func keyed(t *testing.T, o *office, c *cloud, v *visit, provider, username string) {
	v = o.begin(t, v.org, connection.Wish{Subject: "alice", Provider: provider})
	enter := func(cookie, secret string) error {
		return o.connector.EnterKey(t.Context(), v.org, v.id, cookie, connection.Key{Username: username, Secret: []byte(secret)})
	}
	good := c.owns(v.org, "canary-good-key-1")
	want(t, enter("", good), connection.ErrStep)
	if _, err := o.signIn(t.Context(), c, v); err != nil {
		t.Fatal(err)
	}
	want(t, enter("another", good), connection.ErrStep)
	want(t, enter("", good), connection.ErrStep)
	for _, bad := range []string{"canary-bad-key-1", "short", "canary-with\nnewline"} {
		if err := enter(v.cookie, bad); !errors.Is(err, connection.ErrInvalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if a := o.status(t, v); a.Status != connection.StatusPending {
		t.Error(a.Status)
	}
	want(t, enter(v.cookie, good), nil)
	want(t, enter(v.cookie, good), connection.ErrLink)
	o.ends(t, v, connection.StatusActive, "")
}

// wishes: EX7. An account is connected for a user of the org, by that user.
func wishes(t *testing.T, _ *world, o *office, _ *cloud, v *visit) {
	o.begin(t, v.org, connection.Wish{Subject: "bob", Provider: "notes", Connection: "bobs"})
	o.begin(t, v.org, connection.Wish{Subject: "alice", Provider: "notes", Connection: "second"})
	alice := subject(v.org, "alice")
	for name, w := range map[string]connection.Wish{
		"a service account":        {Subject: "service:" + string(v.org) + "/reporting", Provider: "notes"},
		"an agent":                 {Subject: "agent:" + string(v.org) + "/researcher", Provider: "notes"},
		"a user of another org":    {Subject: "user:other/okta|alice", Provider: "notes", Connection: "new"},
		"nobody":                   {Provider: "notes", Connection: "new"},
		"no provider":              {Subject: alice, Provider: "nothing", Connection: "new"},
		"another's connection":     {Subject: alice, Provider: "notes", Connection: "bobs"},
		"an id that is none":       {Subject: alice, Provider: "notes", Connection: "A/b"},
		"several, none named":      {Subject: alice, Provider: "notes"},
		"another provider's scope": {Subject: alice, Provider: "notes", Connection: "new", Scopes: []string{"keys:read"}},
	} {
		if a, err := o.connector.Authorize(t.Context(), v.org, w); !errors.Is(err, connection.ErrInvalid) {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
	_, err := o.connector.Wait(t.Context(), v.org, subject(v.org, "bob"), v.id, 0)
	want(t, err, store.ErrNotFound)
}

func TestConnect(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, w *world) {
		for i, each := range attempts {
			t.Run(each.name, func(t *testing.T) {
				c, org := newCloud(t), delegation.OrgID(fmt.Sprintf("acme-%d", i))
				o := w.office(t, c, slog.DiscardHandler)
				o.open(t, org, c)
				each.run(t, w, o, c, o.begin(t, org, connection.Wish{Subject: "alice", Provider: "notes", Scopes: []string{"notes:write"}}))
			})
		}
	})
}

// TestWaitEnds: whoever waits hears of the end when it comes, and of its own end by its context.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, w *world) {
		c := newCloud(t)
		o := w.office(t, c, slog.DiscardHandler)
		o.open(t, "acme", c)
		v := o.begin(t, "acme", connection.Wish{Subject: "alice", Provider: "notes"})
		heard := make(chan connection.Authorized, 1)
		go func() {
			a, _ := o.connector.Wait(t.Context(), "acme", subject("acme", "alice"), v.id, time.Minute)
			heard <- a
		}()
		want(t, o.granted(t, c, v, same), nil)
		if a := <-heard; a.Status != connection.StatusActive {
			t.Errorf("%+v", a)
		}
		v = o.begin(t, "acme", connection.Wish{Subject: "bob", Provider: "notes"})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := o.connector.Wait(ctx, "acme", subject("acme", "bob"), v.id, time.Minute)
		want(t, err, context.Canceled)
	})
}
