package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

func person(id string, version int64) store.User {
	return store.User{
		ID: id, UserName: "Name-" + id, ExternalID: "ext-" + id, Email: id + "@example.com", Active: true, Document: []byte("{}"),
		Version: version, Created: at(1), Updated: at(int(version)),
	}
}

func named(u store.User, org delegation.OrgID) store.User {
	u.Org = org
	return u
}

func users[O STSOrg](t testing.TB, org O, q store.UserQuery) []store.User {
	t.Helper()
	out, total, err := org.Users(t.Context(), q)
	ok(t, err)
	if q.Offset == 0 && len(out) < q.Limit {
		equal(t, total, len(out))
	}
	return out
}

func groups[O STSOrg](t testing.TB, org O, q store.GroupQuery) []string {
	t.Helper()
	q.Limit = 10
	found, total, err := org.Groups(t.Context(), q)
	ok(t, err)
	equal(t, total, len(found))
	var out []string
	for _, g := range found {
		out = append(out, g.ID)
	}
	return out
}

func testUsers[O STSOrg](t *testing.T, s, other STS[O]) {
	ctx, org := t.Context(), s.Org("users")
	equal(t, users(t, org, store.UserQuery{Limit: 10}), nil)
	is(t, org.PutUser(ctx, person("a", 2), nil), store.ErrConflict)
	is(t, org.PutUser(ctx, person("a", 0), nil), store.ErrConflict)
	for _, id := range []string{"c", "a", "b"} {
		ok(t, org.PutUser(ctx, person(id, 1), nil))
	}
	is(t, org.PutUser(ctx, person("a", 1), nil), store.ErrConflict)
	is(t, org.PutUser(ctx, person("a", 3), nil), store.ErrConflict)

	t.Run("pages", func(t *testing.T) {
		for _, c := range []struct {
			offset, limit int
			want          string
		}{{0, 10, "abc"}, {0, 2, "ab"}, {2, 2, "c"}, {3, 2, ""}, {0, 0, ""}, {-1, 1, "a"}} {
			found, total, err := org.Users(ctx, store.UserQuery{Offset: c.offset, Limit: c.limit})
			ok(t, err)
			equal(t, total, 3)
			var ids string
			for _, u := range found {
				ids += u.ID
			}
			equal(t, ids, c.want)
		}
	})
	t.Run("queries", func(t *testing.T) {
		b := []store.User{named(person("b", 1), "users")}
		for _, q := range []store.UserQuery{
			{ID: "b"}, {UserName: "nAME-B"}, {ExternalID: "ext-b"}, {Email: "B@EXAMPLE.COM"}, {ID: "b", UserName: "name-b", ExternalID: "ext-b"},
		} {
			q.Limit = 10
			equal(t, users(t, other.Org("users"), q), b)
		}
		for _, q := range []store.UserQuery{{ID: "B"}, {ExternalID: "EXT-B"}, {ID: "b", UserName: "name-a"}, {UserName: "name-"}, {UserName: "%"}} {
			q.Limit = 10
			equal(t, users(t, org, q), nil)
		}
	})
	t.Run("names are unique", func(t *testing.T) {
		twin, same := person("d", 1), person("d", 1)
		twin.UserName, same.ExternalID = "NAME-A", "ext-a"
		is(t, org.PutUser(ctx, twin, nil), store.ErrTaken)
		is(t, org.PutUser(ctx, same, nil), store.ErrTaken)
		renamed := person("b", 2)
		renamed.UserName = "name-a"
		is(t, org.PutUser(ctx, renamed, nil), store.ErrTaken)
		for _, id := range []string{"x", "y"} { // no external id is no name
			nameless := person(id, 1)
			nameless.ExternalID, nameless.Email = "", ""
			ok(t, org.PutUser(ctx, nameless, nil))
			ok(t, org.DeleteUser(ctx, id, 1, nil))
		}
	})
	t.Run("change", func(t *testing.T) {
		changed := person("c", 2)
		changed.UserName, changed.Active, changed.Document, changed.Created = "NAME-c", false, []byte(`{"a":1}`), at(9)
		entry := store.Revocation{Kind: "subject", ID: "user:users/okta|c", Before: at(1), Until: at(9), Departed: true}
		before := got(s.Head(ctx))(t)
		is(t, org.PutUser(ctx, person("c", 9), &entry), store.ErrConflict)
		equal(t, got(org.Revocations(ctx, at(0)))(t), nil) // both or neither
		ok(t, org.PutUser(ctx, changed, &entry))
		changed.Created = at(1) // when it was made does not change
		equal(t, users(t, org, store.UserQuery{ID: "c", Limit: 10}), []store.User{named(changed, "users")})
		equal(t, got(org.Revocations(ctx, at(0)))(t)[0].ID, entry.ID)
		if got(s.Head(ctx))(t) == before {
			t.Error("nobody hears of the revocation")
		}
		foreign := entry
		foreign.Org = "another"
		if org.PutUser(ctx, person("c", 3), &foreign) == nil || org.DeleteUser(ctx, "c", 2, &foreign) == nil {
			t.Error("a revocation of another org was accepted")
		}
	})
	t.Run("delete", func(t *testing.T) {
		entry := store.Revocation{Kind: "subject", ID: "user:users/okta|a", Before: at(1), Until: at(9)}
		is(t, org.DeleteUser(ctx, "a", 2, &entry), store.ErrConflict)
		is(t, org.DeleteUser(ctx, "nobody", 1, &entry), store.ErrConflict)
		equal(t, len(got(org.Revocations(ctx, at(0)))(t)), 1)
		ok(t, org.DeleteUser(ctx, "a", 1, &entry))
		equal(t, len(got(org.Revocations(ctx, at(0)))(t)), 2)
		equal(t, users(t, org, store.UserQuery{ID: "a", Limit: 10}), nil)
		again := person("z", 1)
		again.UserName, again.ExternalID = "name-a", "ext-a" // its names are free
		ok(t, org.PutUser(ctx, again, nil))
	})
}

// Of those who change a user at once, or take one name, one succeeds.
func testUserRace[O STSOrg](t *testing.T, a, b STS[O]) {
	ctx, orgs := t.Context(), []O{a.Org("user-race"), b.Org("user-race")}
	for version := range int64(2) {
		race(t, 20, func(i int) error { return orgs[i%2].PutUser(ctx, person("a", version+1), nil) })
	}
	race(t, 20, func(i int) error {
		u := person(fmt.Sprint(i), 1)
		u.UserName = "one"
		err := orgs[i%2].PutUser(ctx, u, nil)
		if errors.Is(err, store.ErrTaken) {
			return store.ErrConflict
		}
		return err
	})
}

func testGroups[O STSOrg](t *testing.T, s, other STS[O]) {
	ctx, org := t.Context(), s.Org("groups")
	for _, id := range []string{"a", "b", "c"} {
		ok(t, org.PutUser(ctx, person(id, 1), nil))
	}
	group := store.Group{Org: "groups", ID: "g", DisplayName: "Engineering", ExternalID: "e", Version: 1, Created: at(1), Updated: at(1)}
	is(t, org.PutGroup(ctx, group, store.Membership{Add: []string{"a", "nobody"}}), store.ErrNotFound)
	equal(t, groups(t, org, store.GroupQuery{}), nil) // all or nothing
	ok(t, org.PutGroup(ctx, group, store.Membership{Add: []string{"b", "a", "a"}}))
	is(t, org.PutGroup(ctx, group, store.Membership{}), store.ErrConflict)
	equal(t, got(org.Members(ctx, "g", 10))(t), []string{"a", "b"})
	equal(t, got(org.Members(ctx, "g", 1))(t), []string{"a"})
	equal(t, got(org.Members(ctx, "nothing", 10))(t), nil)

	found, _, err := other.Org("groups").Groups(ctx, store.GroupQuery{DisplayName: "ENGINEERING", Limit: 1})
	ok(t, err)
	equal(t, found, []store.Group{group})
	is(t, org.PutGroup(ctx, store.Group{ID: "h", DisplayName: "engineering", Version: 1}, store.Membership{}), store.ErrTaken)
	ok(t, org.PutGroup(ctx, store.Group{ID: "h", DisplayName: "Sales", ExternalID: "e", Version: 1}, store.Membership{Add: []string{"b"}}))
	for _, c := range []struct {
		q    store.GroupQuery
		want []string
	}{
		{store.GroupQuery{}, []string{"g", "h"}},
		{store.GroupQuery{ExternalID: "e"}, []string{"g", "h"}},
		{store.GroupQuery{Member: "a"}, []string{"g"}},
		{store.GroupQuery{Member: "b"}, []string{"g", "h"}},
		{store.GroupQuery{Member: "b", ID: "h"}, []string{"h"}},
		{store.GroupQuery{Member: "c"}, nil},
	} {
		equal(t, groups(t, org, c.q), c.want)
	}

	group.Version, group.DisplayName, group.Updated = 2, "Engineers", at(2)
	ok(t, org.PutGroup(ctx, group, store.Membership{Remove: []string{"a", "nobody"}, Add: []string{"c"}}))
	equal(t, got(org.Members(ctx, "g", 10))(t), []string{"b", "c"})
	group.Version = 3
	is(t, org.PutGroup(ctx, group, store.Membership{Replace: true, Add: []string{"nobody"}}), store.ErrNotFound)
	equal(t, got(org.Members(ctx, "g", 10))(t), []string{"b", "c"})
	ok(t, org.PutGroup(ctx, group, store.Membership{Replace: true, Add: []string{"a"}}))
	equal(t, got(org.Members(ctx, "g", 10))(t), []string{"a"})

	ok(t, org.DeleteUser(ctx, "a", 1, nil)) // leaves its groups
	equal(t, got(org.Members(ctx, "g", 10))(t), nil)
	equal(t, groups(t, org, store.GroupQuery{Member: "a"}), nil)
	ok(t, org.DeleteGroup(ctx, "h"))
	is(t, org.DeleteGroup(ctx, "h"), store.ErrNotFound)
	equal(t, groups(t, org, store.GroupQuery{Member: "b"}), nil)
	equal(t, len(users(t, org, store.UserQuery{Limit: 10})), 2) // its users stay
}

// directoryApart are the cases of testSTSApart for users and groups.
func directoryApart[O STSOrg]() map[string]func(t *testing.T, mine, theirs O, their delegation.OrgID) {
	group := func(version int64) store.Group { return store.Group{ID: "same", DisplayName: "Same", Version: version} }
	both := func(t *testing.T, mine, theirs O) {
		for _, org := range []O{theirs, mine} { // the same names are no conflict with another org's
			ok(t, org.PutUser(t.Context(), person("same", 1), nil))
			ok(t, org.PutGroup(t.Context(), group(1), store.Membership{Add: []string{"same"}}))
		}
	}
	intact := func(t *testing.T, theirs O, their delegation.OrgID) {
		t.Helper()
		equal(t, users(t, theirs, store.UserQuery{Limit: 10}), []store.User{named(person("same", 1), their)})
		equal(t, groups(t, theirs, store.GroupQuery{Member: "same"}), []string{"same"})
		equal(t, got(theirs.Members(t.Context(), "same", 10))(t), []string{"same"})
		equal(t, got(theirs.Revocations(t.Context(), at(0)))(t), nil)
	}
	entry := store.Revocation{Kind: "subject", ID: "same", Until: at(9)}
	return map[string]func(t *testing.T, mine, theirs O, their delegation.OrgID){
		"Users": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutUser(t.Context(), person("same", 1), nil))
			for _, q := range []store.UserQuery{{}, {ID: "same"}, {UserName: "Name-same"}, {ExternalID: "ext-same"}, {Email: "same@example.com"}} {
				q.Limit = 10
				equal(t, users(t, mine, q), nil)
			}
		},
		"PutUser": func(t *testing.T, mine, theirs O, their delegation.OrgID) {
			both(t, mine, theirs)
			if mine.PutUser(t.Context(), named(person("same", 2), their), nil) == nil {
				t.Error("a record of another org was accepted")
			}
			ok(t, mine.PutUser(t.Context(), person("same", 2), &entry))
			intact(t, theirs, their)
		},
		"DeleteUser": func(t *testing.T, mine, theirs O, their delegation.OrgID) {
			both(t, mine, theirs)
			ok(t, mine.DeleteUser(t.Context(), "same", 1, &entry))
			is(t, mine.DeleteUser(t.Context(), "same", 1, &entry), store.ErrConflict)
			intact(t, theirs, their)
		},
		"Groups": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutUser(t.Context(), person("same", 1), nil))
			ok(t, theirs.PutGroup(t.Context(), group(1), store.Membership{Add: []string{"same"}}))
			for _, q := range []store.GroupQuery{{}, {ID: "same"}, {DisplayName: "Same"}, {Member: "same"}} {
				equal(t, groups(t, mine, q), nil)
			}
		},
		"Members": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutUser(t.Context(), person("same", 1), nil))
			ok(t, theirs.PutGroup(t.Context(), group(1), store.Membership{Add: []string{"same"}}))
			equal(t, got(mine.Members(t.Context(), "same", 10))(t), nil)
			is(t, mine.PutGroup(t.Context(), group(1), store.Membership{Add: []string{"same"}}), store.ErrNotFound) // nor is their user mine
		},
		"PutGroup": func(t *testing.T, mine, theirs O, their delegation.OrgID) {
			both(t, mine, theirs)
			foreign := group(2)
			foreign.Org = their
			if mine.PutGroup(t.Context(), foreign, store.Membership{}) == nil {
				t.Error("a record of another org was accepted")
			}
			ok(t, mine.PutGroup(t.Context(), group(2), store.Membership{Replace: true}))
			intact(t, theirs, their)
		},
		"DeleteGroup": func(t *testing.T, mine, theirs O, their delegation.OrgID) {
			both(t, mine, theirs)
			ok(t, mine.DeleteGroup(t.Context(), "same"))
			is(t, mine.DeleteGroup(t.Context(), "same"), store.ErrNotFound)
			intact(t, theirs, their)
		},
	}
}
