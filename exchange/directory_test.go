package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/store"
)

// provisioned is a world whose acme has a directory.
type provisioned struct {
	*exchangetest.World
	directory admin.Directory
}

func provision(t *testing.T, change func(*registry.Directory)) provisioned {
	t.Helper()
	w := exchangetest.NewWorld(t)
	token := w.Directory(t, exchangetest.Acme, change)
	s, err := admin.New(w.Admin())
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Directory(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return provisioned{w, d}
}

func (p provisioned) add(t *testing.T, u store.User, groups ...string) store.User {
	t.Helper()
	u, err := p.directory.CreateUser(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		found, _, err := p.directory.Groups(t.Context(), store.GroupQuery{DisplayName: g, Limit: 1})
		if err == nil && len(found) == 0 {
			_, err = p.directory.CreateGroup(t.Context(), store.Group{DisplayName: g}, store.Membership{Add: []string{u.ID}})
		} else if err == nil {
			_, err = p.directory.ChangeGroup(t.Context(), found[0].ID, func(g store.Group) (store.Group, store.Membership, error) {
				return g, store.Membership{Add: []string{u.ID}}, nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return u
}

func (p provisioned) login(t *testing.T, user string, change func(exchangetest.Claims)) (exchange.Response, error) {
	t.Helper()
	return p.Service.Exchange(t.Context(), p.Orchestrator.Credential(), exchangetest.FirstHop(p.IDP.IDToken(t, user, change), "github:read"))
}

// TestEnrolled: who the org's directory does not have, or has put out of action, logs in no more, whatever the issuer says.
func TestEnrolled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		directory func(*registry.Directory)
		user      func(*store.User)
		login     func(exchangetest.Claims)
		refused   string // part of the refusal; empty: let in
	}{
		"known":                   {},
		"deactivated":             {user: func(u *store.User) { u.Active = false }, refused: "was deactivated"},
		"not there":               {user: func(u *store.User) { u.ExternalID = "another" }, refused: "is not in the org's directory"},
		"without an external id":  {user: func(u *store.User) { u.ExternalID = "" }, refused: "is not in the org's directory"},
		"in another case":         {user: func(u *store.User) { u.ExternalID = "ALICE" }, refused: "is not in the org's directory"},
		"not there, and may":      {directory: allowUnknown, user: func(u *store.User) { u.ExternalID = "another" }},
		"deactivated, others may": {directory: allowUnknown, user: func(u *store.User) { u.Active = false }, refused: "was deactivated"},
		"by user name":            {directory: byUserName, user: func(u *store.User) { u.UserName, u.ExternalID = "alice", "x" }},
		"user name in another case": {
			directory: byUserName, user: func(u *store.User) { u.UserName = "Alice" }, refused: "is not in the org's directory",
		},
		"external id where the user name counts": {directory: byUserName, refused: "is not in the org's directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := provision(t, c.directory)
			u := exchangetest.Person("alice")
			if c.user != nil {
				c.user(&u)
			}
			p.add(t, u)
			// Creating an inactive user ends what began before; what is asked here is of a login afterwards.
			p.Advance(t, time.Minute)
			_, err := p.login(t, "alice", c.login)
			switch {
			case c.refused == "" && err != nil:
				t.Error(err)
			case c.refused != "" && (exchange.ReasonOf(err) != exchange.SubjectTokenInvalid || !strings.Contains(err.Error(), c.refused)):
				t.Errorf("got %v", err)
			}
		})
	}
}

func allowUnknown(d *registry.Directory) { d.AllowUnknown = true }
func byUserName(d *registry.Directory)   { d.Subject = registry.AttributeUserName }

// TestDirectoryGroups: the groups of the directory count beside those of the login, at the next login, in policy and in the token.
func TestDirectoryGroups(t *testing.T) {
	t.Parallel()
	p := provision(t, nil)
	alice := p.add(t, exchangetest.Person("alice"), "staff", "night-shift")
	noGroups := func(c exchangetest.Claims) { c["groups"] = nil }
	if _, err := p.login(t, "alice", noGroups); exchange.ReasonOf(err) != exchange.DelegationDenied {
		t.Fatalf("without engineering: %v", err) // acme's policies want it
	}
	token := p.IDP.IDToken(t, "alice", noGroups)
	again := func() (exchange.Response, error) { // the same login, which is remembered
		return p.Service.Exchange(t.Context(), p.Orchestrator.Credential(), exchangetest.FirstHop(token, "github:read"))
	}
	if _, err := again(); err == nil {
		t.Fatal("no group, and let in")
	}
	g, err := p.directory.CreateGroup(t.Context(), store.Group{DisplayName: "engineering"}, store.Membership{Add: []string{alice.ID}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := again()
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Claims(t, res.AccessToken).Groups; !slices.Equal(got, []string{"engineering", "night-shift", "staff"}) {
		t.Errorf("groups %q", got)
	}
	res, err = p.login(t, "alice", func(c exchangetest.Claims) { c["groups"] = []string{"contractors", "staff"} })
	if err != nil || !slices.Equal(p.Claims(t, res.AccessToken).Groups, []string{"contractors", "engineering", "night-shift", "staff"}) {
		t.Errorf("%v", err)
	}
	if err := p.directory.DeleteGroup(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := again(); exchange.ReasonOf(err) != exchange.DelegationDenied {
		t.Errorf("the group is gone: %v", err)
	}
	// More groups than a token may say are refused and not cut: the one that is cut could be the one that a policy forbids.
	for i := range 64 {
		p.add(t, exchangetest.Person(fmt.Sprint("filler-", i)))
		if _, err := p.directory.CreateGroup(t.Context(), store.Group{DisplayName: fmt.Sprint("g", i)},
			store.Membership{Add: []string{alice.ID}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := again(); err == nil || !strings.Contains(err.Error(), "more than 64 groups") {
		t.Errorf("66 groups: %v", err)
	}
}

// TestDirectoryIsAnOrgsAndAnIssuersOwn: nobody else's logins are held against it.
func TestDirectoryIsAnOrgsAndAnIssuersOwn(t *testing.T) {
	t.Parallel()
	p := provision(t, nil)
	tenant := func(c exchangetest.Claims) { c["tenant"] = "globex" }
	if _, err := p.Service.Exchange(t.Context(), p.Stranger.Credential(),
		exchangetest.FirstHop(p.IDP.IDToken(t, "alice", tenant), "github:read")); err != nil {
		t.Errorf("globex has no directory: %v", err)
	}
	p.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		d.Issuers = append(d.Issuers, registry.Issuer{Name: "other", URL: "https://other.test", Audiences: []string{"x"}})
		d.Directory.Issuer = "other"
	})
	if _, err := p.login(t, "alice", nil); err != nil {
		t.Errorf("the directory is of another issuer's users: %v", err)
	}
}

// TestDirectoryAway: when it cannot be read, nobody logs in.
func TestDirectoryAway(t *testing.T) {
	t.Parallel()
	p := provision(t, nil)
	p.add(t, exchangetest.Person("alice"), "staff")
	for name, users := range map[string]func(delegation.OrgID) exchange.UserStore{
		"users":  func(id delegation.OrgID) exchange.UserStore { return away{p.Store.Org(id), true} },
		"groups": func(id delegation.OrgID) exchange.UserStore { return away{p.Store.Org(id), false} },
		"none":   nil,
	} {
		cfg := p.Config()
		cfg.Users = users
		service, err := exchange.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = service.Exchange(t.Context(), p.Orchestrator.Credential(), exchangetest.FirstHop(p.IDP.IDToken(t, "alice", nil), "github:read"))
		want := exchange.DependencyUnavailable
		if users == nil {
			want = exchange.Internal
		}
		if exchange.ReasonOf(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type away struct {
	exchange.UserStore
	users bool
}

var errAway = errors.New("away")

func (a away) Users(ctx context.Context, q store.UserQuery) ([]store.User, int, error) {
	if a.users {
		return nil, 0, errAway
	}
	return a.UserStore.Users(ctx, q)
}

func (away) Groups(context.Context, store.GroupQuery) ([]store.Group, int, error) {
	return nil, 0, errAway
}

// TestSubjectClaim: users are told apart by the claim that the issuer's registration names.
func TestSubjectClaim(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		d.Issuers[0].SubjectClaim, d.Issuers[0].TokenTypes = "oid", []string{registry.TokenTypeID}
	})
	login := func(oid any) (exchange.Response, error) {
		token := w.IDP.IDToken(t, "pairwise", func(c exchangetest.Claims) { c["oid"] = oid })
		return w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop(token, "github:read"))
	}
	res, err := login("0a-1b")
	if err != nil {
		t.Fatal(err)
	}
	if got := w.Claims(t, res.AccessToken).Subject; got != "user:acme/okta|0a-1b" {
		t.Errorf("subject %q", got)
	}
	for _, bad := range []any{nil, "", 7, []string{"a"}, "\x00", strings.Repeat("x", 300)} {
		if _, err := login(bad); exchange.ReasonOf(err) != exchange.SubjectTokenInvalid {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
