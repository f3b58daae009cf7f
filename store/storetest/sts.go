package storetest

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// RunSTS holds a token server's store to the contract.
func RunSTS[O STSOrg](t *testing.T, fresh Fresh[STS[O]]) {
	open := fresh(t)
	a, b := handle(t, open), handle(t, open) // two replicas
	for name, f := range map[string]func(t *testing.T, a, b STS[O]){
		"config":           testConfig[O],
		"config race":      testConfigRace[O],
		"client secrets":   testClientSecrets[O],
		"single use":       func(t *testing.T, a, b STS[O]) { testConsume(t, a.Org("consume"), b.Org("consume")) },
		"revocations":      testRevocations[O],
		"activity":         testActivity[O],
		"signals":          testSignals[O],
		"signals race":     testSignalPollRace[O],
		"users":            testUsers[O],
		"user race":        testUserRace[O],
		"groups":           testGroups[O],
		"times":            testTimes[O],
		"ids are exact":    testExactIDs[O],
		"copies":           testCopies[O],
		"replicas":         testReplicas[O],
		"orgs are apart":   testSTSApart[O],
		"audit":            func(t *testing.T, a, b STS[O]) { testAudit(t, stsTrail(a), stsTrail(b)) },
		"audit in order":   func(t *testing.T, a, b STS[O]) { testAuditInOrder(t, stsTrail(a), stsTrail(b)) },
		"audit all or not": func(t *testing.T, a, b STS[O]) { testAuditAtomic(t, stsTrail(a)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, a, b)
		})
	}
	for name, f := range map[string]func(t *testing.T, open Open[STS[O]]){
		"signing keys":     testSigningKeys[O],
		"changes":          testChanges[O],
		"changes in order": testChangesInOrder[O],
		"notifications":    testNotifications[O],
		"orgs":             testOrgs[O],
		"purge":            testPurge[O],
		"pages":            testPages[O],
		"org pages":        testOrgPages[O],
		"revocation pages": testRevocationPages[O],
		"replica records":  testReplicaRecords[O],
		"reopen":           testReopenSTS[O],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, fresh(t))
		})
	}
}

func testConfig[O STSOrg](t *testing.T, s, _ STS[O]) {
	ctx, org := t.Context(), s.Org("config")
	_, err := org.Config(ctx)
	is(t, err, store.ErrNotFound)
	is(t, org.PutConfig(ctx, store.OrgConfig{Version: 2}), store.ErrConflict)
	is(t, org.PutConfig(ctx, store.OrgConfig{Version: 0}), store.ErrConflict)
	ok(t, org.PutConfig(ctx, store.OrgConfig{Version: 1, Document: []byte("one"), Created: at(1)}))
	is(t, org.PutConfig(ctx, store.OrgConfig{Version: 1, Document: []byte("again")}), store.ErrConflict)
	is(t, org.PutConfig(ctx, store.OrgConfig{Version: 3, Document: []byte("skipped")}), store.ErrConflict)
	equal(t, got(org.Config(ctx))(t), store.OrgConfig{Org: "config", Version: 1, Document: []byte("one"), Created: at(1)})
	ok(t, org.PutConfig(ctx, store.OrgConfig{Org: "config", Version: 2, Document: []byte("two"), Created: at(2)}))
	equal(t, got(org.Config(ctx))(t), store.OrgConfig{Org: "config", Version: 2, Document: []byte("two"), Created: at(2)})

	platform := s.Org(store.PlatformOrg)
	ok(t, platform.PutConfig(ctx, store.OrgConfig{Version: 1, Created: at(1)}))
	equal(t, got(platform.Config(ctx))(t), store.OrgConfig{Org: store.PlatformOrg, Version: 1, Created: at(1)})
}

func testConfigRace[O STSOrg](t *testing.T, a, b STS[O]) {
	ctx, orgs := t.Context(), []O{a.Org("config-race"), b.Org("config-race")}
	for version := range int64(2) {
		race(t, 50, func(i int) error {
			return orgs[i%2].PutConfig(ctx, store.OrgConfig{Version: version + 1, Document: fmt.Append(nil, i)})
		})
	}
}

func testClientSecrets[O STSOrg](t *testing.T, s, _ STS[O]) {
	ctx, org := t.Context(), s.Org("secrets")
	equal(t, got(org.ClientSecrets(ctx))(t), nil)
	secret := func(agent string, n byte) store.ClientSecret {
		return store.ClientSecret{Agent: agent, Hash: key(n), Created: at(int(n))}
	}
	// The newest is the one put last, whatever its time says.
	for _, n := range []byte{1, 3, 2} {
		ok(t, org.PutClientSecret(ctx, secret("researcher", n), 2))
	}
	ok(t, org.PutClientSecret(ctx, secret("orchestrator", 1), 1))
	equal(t, got(org.ClientSecrets(ctx))(t), []store.ClientSecret{
		secret("orchestrator", 1), secret("researcher", 2), secret("researcher", 3),
	})
	is(t, org.PutClientSecret(ctx, secret("researcher", 2), 1), store.ErrConflict)
	if err := org.PutClientSecret(ctx, secret("researcher", 9), 0); err == nil {
		t.Error("keep 0 was accepted")
	}
	equal(t, len(got(org.ClientSecrets(ctx))(t)), 3)
	ok(t, org.PutClientSecret(ctx, secret("researcher", 4), 1))
	equal(t, got(org.ClientSecrets(ctx))(t), []store.ClientSecret{secret("orchestrator", 1), secret("researcher", 4)})
}

// The later time holds, whoever says it last; what is said of others stays.
func testActivity[O STSOrg](t *testing.T, s, other STS[O]) {
	ctx, org := t.Context(), s.Org("activity")
	ok(t, org.PutActivity(ctx, nil))
	ok(t, org.PutActivity(ctx, map[string]time.Time{"b": at(5), "a": at(1)}))
	ok(t, other.Org("activity").PutActivity(ctx, map[string]time.Time{"b": at(3), "a": at(2), "c": at(9)}))
	equal(t, got(org.Activity(ctx))(t), []store.Activity{{Agent: "a", Last: at(2)}, {Agent: "b", Last: at(5)}, {Agent: "c", Last: at(9)}})
}

func testRevocations[O STSOrg](t *testing.T, s, _ STS[O]) {
	ctx, org := t.Context(), s.Org("revoke")
	equal(t, got(org.Revocations(ctx, at(0)))(t), nil)
	entries := []store.Revocation{
		{Kind: "agent", ID: "agent:revoke/a", Before: at(1), Until: at(10), Reason: "stolen"},
		{Kind: "agent", ID: "agent:revoke/a", Before: at(2), Until: at(20)}, // again: a second entry
		{Kind: "subject", ID: "user:revoke/a|1", Scope: "crm:read", Since: at(1), Before: at(2), Until: at(20), Departed: true},
		{Kind: "token", ID: "jti", Before: at(2), Until: at(15)},
	}
	for i := range entries {
		sequence := got(org.Revoke(ctx, entries[i]))(t)
		if i > 0 && sequence <= entries[i-1].Sequence {
			t.Fatalf("sequence %d after %d", sequence, entries[i-1].Sequence)
		}
		entries[i].Sequence, entries[i].Org = sequence, "revoke"
		equal(t, changes(t, s, sequence-1, 1), []store.Change{{Sequence: sequence, Org: "revoke", Kind: store.ChangeRevocation}})
	}
	equal(t, got(org.Revocations(ctx, at(10)))(t), entries) // live to the very end
	equal(t, got(org.Revocations(ctx, at(11)))(t), entries[1:])
	equal(t, got(org.Revocations(ctx, at(21)))(t), nil)
	equal(t, got(org.RevocationsPage(ctx, 0, at(11), 2))(t), entries[1:3])
	equal(t, got(org.RevocationsPage(ctx, entries[2].Sequence, at(11), 2))(t), entries[3:])
	equal(t, got(org.RevocationsPage(ctx, math.MaxUint64, at(0), 2))(t), nil)

	// The feed sees the entries of all orgs, after its cursor.
	feed := func(after uint64, now time.Time) (mine []store.Revocation) {
		for _, r := range got(s.Revocations(ctx, after, now, store.MaxPage))(t) {
			if r.Org == "revoke" {
				mine = append(mine, r)
			}
		}
		return mine
	}
	equal(t, feed(0, at(10)), entries)
	equal(t, feed(entries[0].Sequence, at(10)), entries[1:])
	equal(t, feed(0, at(16)), entries[1:3])
	equal(t, feed(math.MaxUint64, at(0)), nil)
}

// Times are UTC with microseconds; what is finer is cut off, not rounded up.
func testTimes[O STSOrg](t *testing.T, s, _ STS[O]) {
	ctx, org := t.Context(), s.Org("times")
	for i, c := range []struct{ in, out time.Time }{
		{at(0).Add(999 * time.Nanosecond).In(time.FixedZone("east", 3*3600)), at(0)},
		{time.Time{}, time.Time{}},
		{time.Date(2999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(2999, 12, 31, 23, 59, 59, 999999000, time.UTC)},
	} {
		ok(t, org.PutConfig(ctx, store.OrgConfig{Version: int64(i) + 1, Created: c.in}))
		created := got(org.Config(ctx))(t).Created
		equal(t, created, c.out)
		equal(t, created.IsZero(), c.out.IsZero())
	}
}

// Ids are compared byte for byte: an engine that folds case or trims space would let one agent take another's name.
func testExactIDs[O STSOrg](t *testing.T, s, _ STS[O]) {
	ctx := t.Context()
	for i, id := range []delegation.OrgID{"exact", "EXACT", "exact ", "exäct", "exa\u0308ct"} {
		org := s.Org(id)
		_, err := org.Config(ctx)
		is(t, err, store.ErrNotFound)
		ok(t, org.PutConfig(ctx, store.OrgConfig{Version: 1, Document: fmt.Append(nil, i)}))
		equal(t, string(got(org.Config(ctx))(t).Document), fmt.Sprint(i))
	}
	org := s.Org("exact")
	ok(t, org.PutClientSecret(ctx, store.ClientSecret{Agent: "b", Hash: key(1)}, 1))
	ok(t, org.PutClientSecret(ctx, store.ClientSecret{Agent: "B", Hash: key(2)}, 1))
	secrets := got(org.ClientSecrets(ctx))(t)
	equal(t, []string{secrets[0].Agent, secrets[1].Agent}, []string{"B", "b"}) // byte order
}

func testCopies[O STSOrg](t *testing.T, s, _ STS[O]) {
	ctx, org := t.Context(), s.Org("copies")
	document := []byte("document")
	ok(t, org.PutConfig(ctx, store.OrgConfig{Version: 1, Document: document}))
	document[0] = 'X'
	first := got(org.Config(ctx))(t)
	equal(t, string(first.Document), "document")
	first.Document[0] = 'X'
	equal(t, string(got(org.Config(ctx))(t).Document), "document")
}

// What one replica has committed, the others see at once.
func testReplicas[O STSOrg](t *testing.T, a, b STS[O]) {
	ctx, mine, theirs := t.Context(), a.Org("replicas"), b.Org("replicas")
	ok(t, mine.PutConfig(ctx, store.OrgConfig{Version: 1}))
	equal(t, got(theirs.Config(ctx))(t).Version, 1)
	is(t, theirs.PutConfig(ctx, store.OrgConfig{Version: 1}), store.ErrConflict)
	ok(t, theirs.PutConfig(ctx, store.OrgConfig{Version: 2}))
	equal(t, got(mine.Config(ctx))(t).Version, 2)
	ok(t, mine.PutClientSecret(ctx, store.ClientSecret{Agent: "a", Hash: key(1)}, 1))
	equal(t, len(got(theirs.ClientSecrets(ctx))(t)), 1)
	sequence := got(mine.Revoke(ctx, store.Revocation{Kind: "org", ID: "replicas", Until: at(1)}))(t)
	equal(t, got(theirs.Revocations(ctx, at(0)))(t)[0].Sequence, sequence)
	if head := got(b.Head(ctx))(t); head < sequence {
		t.Errorf("the other replica's head is %d, after %d was committed", head, sequence)
	}
	ok(t, a.Ping(ctx))
}

func testSigningKeys[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s := t.Context(), handle(t, open)
	keys, generation, err := s.SigningKeys(ctx)
	ok(t, err)
	equal(t, keys, nil)
	equal(t, generation, 0)
	key := func(kid string) store.SigningKey {
		return store.SigningKey{
			KID: kid, Algorithm: "ES256", Sealed: []byte{0, 1}, Public: []byte("{}"), Published: at(1), Activate: at(2),
		}
	}
	set := []store.SigningKey{key("z"), key("a"), key("A")}
	set[1].Deactivate, set[1].Remove = at(3), at(4)
	is(t, s.PutSigningKeys(ctx, 1, set), store.ErrConflict)
	is(t, s.PutSigningKeys(ctx, 0, []store.SigningKey{key("a"), key("a")}), store.ErrConflict)
	ok(t, s.PutSigningKeys(ctx, 0, set))
	is(t, s.PutSigningKeys(ctx, 0, nil), store.ErrConflict)
	keys, generation, err = s.SigningKeys(ctx)
	ok(t, err)
	equal(t, keys, set) // in the given order; a zero time stays zero
	equal(t, generation, 1)
	equal(t, changes(t, s, 0, 10), []store.Change{{Sequence: 1, Org: store.PlatformOrg, Kind: store.ChangeKeys}})
	ok(t, s.PutSigningKeys(ctx, 1, set[:1])) // the whole set is replaced
	keys, generation, err = s.SigningKeys(ctx)
	ok(t, err)
	equal(t, keys, set[:1])
	equal(t, generation, 2)

	// Two replicas that rotate at once must not both believe that their key is the new one.
	replicas := []STS[O]{s, handle(t, open)}
	race(t, 20, func(i int) error {
		return replicas[i%2].PutSigningKeys(ctx, 2, []store.SigningKey{{KID: fmt.Sprint("k", i)}})
	})
	keys, generation, err = s.SigningKeys(ctx)
	ok(t, err)
	equal(t, len(keys), 1)
	equal(t, generation, 3)
}

func testChanges[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s := t.Context(), handle(t, open)
	equal(t, got(s.Head(ctx))(t), 0)
	equal(t, changes(t, s, 0, 10), nil)
	ok(t, s.Org("b").PutConfig(ctx, store.OrgConfig{Version: 1}))
	ok(t, s.Org("a").PutClientSecret(ctx, store.ClientSecret{Agent: "x", Hash: key(1)}, 1))
	got(s.Org("b").Revoke(ctx, store.Revocation{Kind: "org", ID: "b", Until: at(1)}))(t)
	all := []store.Change{
		{Sequence: 1, Org: "b", Kind: store.ChangeConfig},
		{Sequence: 2, Org: "a", Kind: store.ChangeConfig},
		{Sequence: 3, Org: "b", Kind: store.ChangeRevocation},
	}
	equal(t, changes(t, s, 0, 10), all)
	equal(t, changes(t, s, 1, 1), all[1:2])
	equal(t, changes(t, s, 3, 10), nil)
	equal(t, changes(t, s, math.MaxUint64, 10), nil)
	equal(t, changes(t, s, 0, -1), all[:1]) // a limit outside the range is moved to its end
	equal(t, changes(t, s, 0, math.MaxInt32), all)

	// What is refused is no change.
	is(t, s.Org("b").PutConfig(ctx, store.OrgConfig{Version: 1}), store.ErrConflict)
	is(t, s.Org("a").PutClientSecret(ctx, store.ClientSecret{Agent: "x", Hash: key(1)}, 1), store.ErrConflict)
	is(t, s.PutSigningKeys(ctx, 7, nil), store.ErrConflict)
	equal(t, got(s.Head(ctx))(t), 3)
	equal(t, changes(t, s, 0, 10), all)
}

func testChangesInOrder[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, replicas := t.Context(), []STS[O]{handle(t, open), handle(t, open)}
	inOrder(t, 120, func(i int) error {
		org := replicas[i%2].Org(delegation.OrgID(fmt.Sprint("org-", i%5)))
		if i%3 == 0 {
			return org.PutClientSecret(ctx, store.ClientSecret{Agent: "a", Hash: key(byte(i))}, 1)
		}
		_, err := org.Revoke(ctx, store.Revocation{Kind: "token", ID: fmt.Sprint(i), Until: at(1)})
		return err
	}, func(after uint64) (sequences []uint64, err error) {
		changes, err := replicas[0].Changes(ctx, after, 7)
		for _, c := range changes {
			sequences = append(sequences, c.Sequence)
		}
		return sequences, err
	})
	equal(t, got(replicas[1].Head(ctx))(t), 120)
}

func testNotifications[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s := t.Context(), handle(t, open)
	hints := got(s.Notifications(ctx))(t)
	changes := []func() error{
		func() error { return s.Org("a").PutConfig(ctx, store.OrgConfig{Version: 1}) },
		func() error { return s.Org("a").PutClientSecret(ctx, store.ClientSecret{Agent: "a"}, 1) },
		func() error { _, err := s.Org("a").Revoke(ctx, store.Revocation{Until: at(1)}); return err },
		func() error { return s.PutSigningKeys(ctx, 0, nil) },
	}
	for i, change := range changes {
		ok(t, change())
		select {
		case _, open := <-hints:
			if !open {
				t.Fatal("the channel was closed")
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no hint after change %d", i)
		}
	}
	// Nobody reads: the writers must not wait.
	for version := range int64(5) {
		ok(t, s.Org("b").PutConfig(ctx, store.OrgConfig{Version: version + 1}))
	}
	// A value or none, but never a closed channel, at which a follower's loop would spin.
	ok(t, s.Close())
	select {
	case _, open := <-hints:
		if !open {
			t.Fatal("the channel was closed")
		}
	default:
	}
}

func testOrgs[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s := t.Context(), handle(t, open)
	cancelled(t, s)
	cancelled(t, s.Org("cancelled"))
	equal(t, got(s.Head(ctx))(t), 0) // a context that had ended changed nothing
	ok(t, s.Org("cancelled").Consume(ctx, [32]byte{}, at(1)))

	equal(t, got(s.Orgs(ctx))(t), nil)
	for _, id := range []delegation.OrgID{"b", "a-b", "a", "B", store.PlatformOrg} {
		ok(t, s.Org(id).PutConfig(ctx, store.OrgConfig{Version: 1}))
	}
	ok(t, s.Org("a").PutConfig(ctx, store.OrgConfig{Version: 2}))
	got(s.Org("no-config").Revoke(ctx, store.Revocation{Until: at(1)}))(t)
	equal(t, got(s.Orgs(ctx))(t), []delegation.OrgID{"B", "a", "a-b", "b"})
	equal(t, got(s.OrgsPage(ctx, "", 3))(t), []delegation.OrgID{"B", "a", "a-b"})
	equal(t, got(s.OrgsPage(ctx, "a-", 3))(t), []delegation.OrgID{"a-b", "b"}) // what it comes after need not exist
	equal(t, got(s.OrgsPage(ctx, "b", 3))(t), nil)
}

func testPurge[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s := t.Context(), handle(t, open)
	org := s.Org("purge")
	ok(t, org.PutConfig(ctx, store.OrgConfig{Version: 1}))
	for n := range 3 {
		ok(t, org.Consume(ctx, key(byte(n)), at(n)))
		got(org.Revoke(ctx, store.Revocation{Kind: "token", ID: fmt.Sprint(n), Until: at(n)}))(t)
	}
	ok(t, s.PurgeExpired(ctx, at(1)))
	ok(t, org.Consume(ctx, key(0), at(0))) // forgotten
	is(t, org.Consume(ctx, key(1), at(9)), store.ErrConflict)
	is(t, org.Consume(ctx, key(2), at(9)), store.ErrConflict)
	equal(t, len(got(s.Revocations(ctx, 0, time.Time{}, 10))(t)), 2)
	equal(t, changes(t, s, 0, 10), []store.Change{
		{Sequence: 1, Org: "purge", Kind: store.ChangeConfig},
		{Sequence: 3, Org: "purge", Kind: store.ChangeRevocation},
		{Sequence: 4, Org: "purge", Kind: store.ChangeRevocation},
	})

	// A number is never given twice, even when the newest row is gone: a follower would take the new change for the old.
	ok(t, s.PurgeExpired(ctx, at(100)))
	equal(t, got(s.Head(ctx))(t), 4)
	equal(t, got(org.Revoke(ctx, store.Revocation{Kind: "token", ID: "x", Until: at(200)}))(t), 5)
	equal(t, got(org.Config(ctx))(t).Version, 1)
}

// A method that returned nil has made its write durable.
func testReopenSTS[O STSOrg](t *testing.T, open Open[STS[O]]) {
	ctx, s := t.Context(), handle(t, open)
	org := s.Org("reopen")
	ok(t, org.PutConfig(ctx, store.OrgConfig{Version: 1, Document: []byte("d"), Created: at(1)}))
	ok(t, org.PutClientSecret(ctx, store.ClientSecret{Agent: "a", Hash: key(1), Created: at(1)}, 1))
	ok(t, org.Consume(ctx, key(1), at(1)))
	got(org.Revoke(ctx, store.Revocation{Kind: "org", ID: "reopen", Until: at(1)}))(t)
	ok(t, org.PutUser(ctx, person("u", 1), nil))
	ok(t, org.PutGroup(ctx, store.Group{ID: "g", DisplayName: "G", Version: 1}, store.Membership{Add: []string{"u"}}))
	ok(t, s.PutSigningKeys(ctx, 0, []store.SigningKey{{KID: "k"}}))
	ok(t, s.AppendAudit(ctx, []store.AuditRecord{{Org: "reopen", ActionID: "a", Time: at(1), Body: []byte("{}")}}))
	ok(t, errors.Join(s.Close(), s.Close())) // closing twice is no error

	s = handle(t, open)
	org = s.Org("reopen")
	equal(t, got(org.Config(ctx))(t), store.OrgConfig{Org: "reopen", Version: 1, Document: []byte("d"), Created: at(1)})
	equal(t, got(org.ClientSecrets(ctx))(t), []store.ClientSecret{{Agent: "a", Hash: key(1), Created: at(1)}})
	is(t, org.Consume(ctx, key(1), at(1)), store.ErrConflict)
	equal(t, len(got(org.Revocations(ctx, at(0)))(t)), 1)
	equal(t, users(t, org, store.UserQuery{Limit: 9}), []store.User{named(person("u", 1), "reopen")})
	equal(t, got(org.Members(ctx, "g", 9))(t), []string{"u"})
	keys, generation, err := s.SigningKeys(ctx)
	ok(t, err)
	equal(t, keys[0].KID, "k")
	equal(t, generation, 1)
	equal(t, len(got(org.AuditRecords(ctx, store.AuditQuery{Limit: 9}))(t)), 1)
	equal(t, got(s.Head(ctx))(t), 4)
}
