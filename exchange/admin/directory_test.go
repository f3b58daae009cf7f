package admin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/store/storetest"
	"github.com/onbehalf/obo/telemetry"
)

func directory(t *testing.T, change func(*registry.Directory)) (*exchangetest.World, admin.Directory) {
	t.Helper()
	w, s := start(t)
	token := w.Directory(t, "acme", change)
	d, err := s.Directory(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return w, d
}

// TestDepartures: whoever leaves the directory, is deactivated in it, or becomes another subject, takes along all that was
// delegated in the name; any other change ends nothing, and nobody else is touched.
func TestDepartures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		is     registry.Directory
		change func(store.User) store.User // nil: delete
		ends   string
	}{
		"deactivated":         {change: func(u store.User) store.User { u.Active = false; return u }, ends: "user:acme/okta|alice"},
		"deleted":             {ends: "user:acme/okta|alice"},
		"another external id": {change: func(u store.User) store.User { u.ExternalID = "eve"; return u }, ends: "user:acme/okta|alice"},
		"no external id":      {change: func(u store.User) store.User { u.ExternalID = ""; return u }, ends: "user:acme/okta|alice"},
		"renamed":             {change: func(u store.User) store.User { u.UserName = "al"; return u }},
		"other attributes":    {change: func(u store.User) store.User { u.Document = []byte(`{"displayName":"A"}`); return u }},
		"nothing":             {change: func(u store.User) store.User { return u }},
		"renamed, and that is the subject": {
			is:     registry.Directory{Subject: registry.AttributeUserName},
			change: func(u store.User) store.User { u.UserName = "al"; return u }, ends: "user:acme/okta|alice@acme.test",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, d := directory(t, func(to *registry.Directory) { to.Subject = c.is.Subject })
			alice, err := d.CreateUser(t.Context(), exchangetest.Person("alice"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.CreateUser(t.Context(), exchangetest.Person("bob")); err != nil {
				t.Fatal(err)
			}
			token := func(user string) string {
				return w.Token(t, w.Orchestrator, "github:read", func(s *delegation.Subject, _ *delegation.Grant) {
					s.ID = "user:acme/okta|" + user
				})
			}
			login := strings.TrimPrefix(c.ends, "user:acme/okta|")
			hers, his := token(login+"x"), token("bob")
			if c.ends != "" {
				hers = token(login)
			}
			before := len(w.Records(t, "acme"))
			if c.change == nil {
				err = d.DeleteUser(t.Context(), alice.ID)
			} else {
				_, err = d.ChangeUser(t.Context(), alice.ID, func(u store.User) (store.User, error) { return c.change(u), nil })
			}
			if err != nil {
				t.Fatal(err)
			}
			if w.Alive(hers) != (c.ends == "") || !w.Alive(his) {
				t.Errorf("alice's token is alive: %v, bob's: %v", w.Alive(hers), w.Alive(his))
			}
			entries, err := w.Store.Org("acme").Revocations(t.Context(), w.Clock.Now())
			if err != nil || (len(entries) == 1) != (c.ends != "") || len(entries) > 1 {
				t.Fatalf("%+v, %v", entries, err)
			}
			for _, e := range entries {
				if e.ID != c.ends || !e.Departed || e.Kind != "subject" {
					t.Errorf("%+v", e)
				}
			}
			records := w.Records(t, "acme")[before:]
			if name == "nothing" {
				if len(records) != 0 {
					t.Errorf("%d records of nothing", len(records))
				}
				return
			}
			if len(records) != 1 || records[0].Administrator != "scim:acme" || records[0].Role != "provisioner" || len(records[0].Changes) != 1 {
				t.Errorf("%+v", records)
			}
			for _, secret := range []string{"@acme.test", "displayName"} { // names and addresses are not on a trail that nobody can delete from
				if c.is.Subject == "" && strings.Contains(records[0].Detail+records[0].Changes[0].Before+records[0].Changes[0].After, secret) {
					t.Errorf("the trail has %s: %+v", secret, records[0])
				}
			}
		})
	}
}

// TestDirectoryFaults: whatever fails, and whether its answer or its effect was lost, a user who is inactive has the entry that
// ends its tokens; what cannot be recorded does not happen; and doing it again makes it whole.
func TestDirectoryFaults(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, method := range []string{"Users", "PutUser", "DeleteUser", "AppendAudit"} {
		for _, after := range []bool{false, true} {
			for _, remove := range []bool{false, true} {
				w, s := start(t)
				token := w.Directory(t, "acme", nil)
				open := func(hook storetest.Hook) admin.Directory {
					faulty := &storetest.FaultySTS[*sqlite.STSOrg]{Store: w.Store, Hook: hook}
					cfg := w.Admin()
					cfg.Directory = func(id delegation.OrgID) admin.DirectoryStore { return faulty.Org(id) }
					trail, err := audit.Open(audit.Config{Store: faulty, Now: w.Clock.Now})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = trail.Close(context.Background()) })
					cfg.Audit = trail
					s, err := admin.New(cfg)
					if err != nil {
						t.Fatal(err)
					}
					d, err := s.Directory(t.Context(), token)
					if err != nil {
						t.Fatal(err)
					}
					return d
				}
				whole, err := s.Directory(t.Context(), token)
				if err != nil {
					t.Fatal(err)
				}
				alice, err := whole.CreateUser(t.Context(), exchangetest.Person("alice"))
				if err != nil {
					t.Fatal(err)
				}
				leave := func(d admin.Directory) error {
					if remove {
						return d.DeleteUser(t.Context(), alice.ID)
					}
					_, err := d.ChangeUser(t.Context(), alice.ID, func(u store.User) (store.User, error) { u.Active = false; return u, nil })
					return err
				}
				check := func(when string) {
					t.Helper()
					found, _, err := w.Store.Org("acme").Users(t.Context(), store.UserQuery{ID: alice.ID, Limit: 1})
					if err != nil {
						t.Fatal(err)
					}
					entries, err := w.Store.Org("acme").Revocations(t.Context(), w.Clock.Now())
					if err != nil {
						t.Fatal(err)
					}
					if left := len(found) == 0 || !found[0].Active; left != (len(entries) > 0) {
						t.Errorf("%s, %s after %v: left %v, %d entries", when, method, after, left, len(entries))
					}
					recorded := slices.ContainsFunc(w.Records(t, "acme"), func(r audit.Record) bool { return strings.Contains(r.Detail, "revoke subject") })
					if len(entries) > 0 && !recorded {
						t.Errorf("%s, %s after %v: an entry without a record", when, method, after)
					}
				}
				err = leave(open(func(c storetest.Call) storetest.Fault {
					switch {
					case c.Method != method:
						return storetest.Fault{}
					case after:
						return storetest.Fault{After: broken}
					}
					return storetest.Fault{Before: broken}
				}))
				applies := method == "Users" || method == "AppendAudit" || (method == "DeleteUser") == remove
				if applies && err == nil {
					t.Errorf("%s after %v, delete %v: no error", method, after, remove)
				}
				check("broken")
				if err := leave(whole); err != nil && !errors.Is(err, admin.ErrNotFound) { // it was done, and the answer was lost
					t.Error(err)
				}
				check("again")
			}
		}
	}
}

// TestDirectoryRace: of those who change one user at once, nobody's change is lost.
func TestDirectoryRace(t *testing.T) {
	t.Parallel()
	_, d := directory(t, nil)
	alice, err := d.CreateUser(t.Context(), exchangetest.Person("alice"))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if _, err := d.ChangeUser(t.Context(), alice.ID, func(u store.User) (store.User, error) {
				u.Document = append(slices.Clone(u.Document), ' ')
				return u, nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got, err := d.User(t.Context(), alice.ID)
	if err != nil || string(got.Document) != "{}     " || got.Version != 6 {
		t.Errorf("%q, version %d, %v", got.Document, got.Version, err)
	}
}

// TestScimToken: a token opens its own org's directory, as long as it is one of the newest two.
func TestScimToken(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	if _, err := s.RotateScimToken(t.Context(), admin.RotateScimTokenRequest{Org: "acme"}); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("without a directory: %v", err)
	}
	first := w.Directory(t, "acme", nil)
	theirs := w.Directory(t, "globex", nil)
	rotate := func(drop bool) telemetry.Secret {
		t.Helper()
		w.Advance(t, time.Second)
		got, err := s.RotateScimToken(t.Context(), admin.RotateScimTokenRequest{Org: "acme", DropPrevious: drop})
		if err != nil {
			t.Fatal(err)
		}
		return got.Token
	}
	opens := func(token telemetry.Secret, org delegation.OrgID) {
		t.Helper()
		d, err := s.Directory(t.Context(), token)
		if org == "" && !errors.Is(err, admin.ErrForbidden) || org != "" && (err != nil || d.Org() != org) {
			t.Errorf("want %q: %v", org, err)
		}
	}
	second := rotate(false)
	opens(first, "acme")
	opens(second, "acme")
	opens(theirs, "globex")
	opens("globex"+telemetry.Secret(strings.TrimPrefix(first.Reveal(), "acme")), "")
	for _, bad := range []telemetry.Secret{"", ".", "acme", "acme.", "nobody.x", "_platform.x", first + "x", telemetry.Secret(w.Orchestrator.Secret)} {
		opens(bad, "")
	}
	third := rotate(true)
	opens(first, "")
	opens(second, "")
	opens(third, "acme")
	w.Apply(t, "acme", func(d *registry.Document) { d.Directory = registry.Directory{} })
	opens(third, "")
}

// TestDirectoryBounds: what does not fit is refused before it is written down.
func TestDirectoryBounds(t *testing.T) {
	t.Parallel()
	w, d := directory(t, nil)
	before := len(w.Records(t, "acme"))
	for name, change := range map[string]func(*store.User){
		"no name":         func(u *store.User) { u.UserName = "" },
		"a long name":     func(u *store.User) { u.UserName = strings.Repeat("x", 256) },
		"a line break":    func(u *store.User) { u.UserName = "a\nb" },
		"no UTF-8":        func(u *store.User) { u.ExternalID = "\xff" },
		"a long document": func(u *store.User) { u.Document = make([]byte, 9<<10) },
	} {
		u := exchangetest.Person("alice")
		change(&u)
		if _, err := d.CreateUser(t.Context(), u); !errors.Is(err, admin.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "équipe", strings.Repeat("x", 129), "a\tb"} {
		if _, err := d.CreateGroup(t.Context(), store.Group{DisplayName: bad}, store.Membership{}); !errors.Is(err, admin.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if after := len(w.Records(t, "acme")); after != before {
		t.Errorf("%d records of what was refused", after-before)
	}
}

// TestTrailOfMembers: the trail has everybody who joins and leaves, not the first few whose ids fit into one change.
func TestTrailOfMembers(t *testing.T) {
	t.Parallel()
	w, d := directory(t, nil)
	ids := make([]string, 60)
	for i := range ids {
		u, err := d.CreateUser(t.Context(), exchangetest.Person(fmt.Sprint("user", i)))
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = u.ID
	}
	g, err := d.CreateGroup(t.Context(), store.Group{DisplayName: "all"}, store.Membership{Add: ids})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.ChangeGroup(t.Context(), g.ID, func(g store.Group) (store.Group, store.Membership, error) {
		return g, store.Membership{Remove: ids}, nil
	}); err != nil {
		t.Fatal(err)
	}
	var joined, left string
	for _, r := range w.Records(t, "acme") {
		for _, c := range r.Changes {
			if c.Path == "groups/all/members" {
				joined, left = joined+c.After, left+c.Before
			}
		}
	}
	for _, id := range ids {
		if !strings.Contains(joined, id) || !strings.Contains(left, id) {
			t.Fatalf("the trail lacks %s", id)
		}
	}
}

// TestSlowDeparture: the store takes half a minute for the commit, until which the user may log in. That login ends too.
func TestSlowDeparture(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(context.Context, admin.Directory, string) error{
		"deleted": func(ctx context.Context, d admin.Directory, id string) error { return d.DeleteUser(ctx, id) },
		"deactivated": func(ctx context.Context, d admin.Directory, id string) error {
			_, err := d.ChangeUser(ctx, id, func(u store.User) (store.User, error) { u.Active = false; return u, nil })
			return err
		},
	} {
		w, s := start(t)
		secret := w.Directory(t, "acme", nil)
		whole, err := s.Directory(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		alice, err := whole.CreateUser(t.Context(), exchangetest.Person("alice"))
		if err != nil {
			t.Fatal(err)
		}
		var last string // login, just before the commit
		slow := &storetest.FaultySTS[*sqlite.STSOrg]{Store: w.Store, Hook: func(c storetest.Call) storetest.Fault {
			if c.Method == "PutUser" || c.Method == "DeleteUser" {
				w.Advance(t, 30*time.Second)
				last = w.Token(t, w.Orchestrator, "github:read", nil)
			}
			return storetest.Fault{}
		}}
		cfg := w.Admin()
		cfg.Directory = func(id delegation.OrgID) admin.DirectoryStore { return slow.Org(id) }
		late, err := admin.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		d, err := late.Directory(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := leave(t.Context(), d, alice.ID); err != nil {
			t.Fatal(err)
		}
		if last == "" || w.Alive(last) {
			t.Errorf("%s: a token of the last moment lives on", name)
		}
	}
}

// TestInactiveFromNowOn: who is inactive when it turns out whose subject it is has no tokens left either.
func TestInactiveFromNowOn(t *testing.T) {
	t.Parallel()
	w, d := directory(t, func(to *registry.Directory) { to.AllowUnknown = true })
	hers := w.Token(t, w.Orchestrator, "github:read", nil)
	nameless := exchangetest.Person("alice")
	nameless.ExternalID, nameless.Active = "", false
	u, err := d.CreateUser(t.Context(), nameless)
	if err != nil {
		t.Fatal(err)
	}
	if !w.Alive(hers) {
		t.Fatal("nobody knows yet whose it is")
	}
	if _, err := d.ChangeUser(t.Context(), u.ID, func(u store.User) (store.User, error) { u.ExternalID = "alice"; return u, nil }); err != nil {
		t.Fatal(err)
	}
	if w.Alive(hers) {
		t.Error("an inactive user's token lives on")
	}
}
