package revocation

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

var errAway = errors.New("store is away")

func TestHubLoadsThenFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, s := &ledger{}, NewSet(0)
		l.revoke(live(Token, "other"))
		if s.Check(claims(), time.Now()) == nil {
			t.Error("a set that has heard nothing lets through")
		}
		h := running(t, l, s, nil)
		<-h.Ready()
		if err := s.Fresh(time.Now()); err != nil || s.Len() != 1 || h.Head() != 1 {
			t.Fatalf("after the load: %v, %d entries, head %d", err, s.Len(), h.Head())
		}
		// By a hint: at once, no time passes.
		l.revoke(live(Agent, "agent:acme/orchestrator"))
		synctest.Wait()
		if !refused(s) {
			t.Error("not refused after the hint")
		}
	})
}

// TestHubPolls: hints may be lost.
func TestHubPolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, s := &ledger{mute: true}, NewSet(0)
		h := running(t, l, s, nil)
		<-h.Ready()
		l.revoke(live(Subject, "user:acme/okta|1"))
		time.Sleep(501 * time.Millisecond)
		synctest.Wait()
		if !refused(s) {
			t.Error("not refused after a poll")
		}
		l.set(func(l *ledger) { l.mute = false })
		time.Sleep(time.Second)
		synctest.Wait()
		l.set(func(l *ledger) { close(l.hints[0]); l.hints = nil })
		time.Sleep(time.Second)
		l.revoke(live(Org, "acme"))
		synctest.Wait()
		if s.Len() != 2 {
			t.Error("hints were not asked for again after their channel closed")
		}
	})
}

// TestNothingIsLostWhileLoading: a change that commits between the two reads of the load is in one of them at least.
func TestNothingIsLostWhileLoading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, s := &ledger{}, NewSet(0)
		l.between = func() {
			l.revoke(live(Subject, "user:acme/okta|1"))
			l.change(store.ChangeConfig, "acme")
		}
		var heard []store.Change
		h := running(t, l, s, func(c store.Change) { heard = append(heard, c) })
		<-h.Ready()
		time.Sleep(time.Second)
		synctest.Wait()
		if !refused(s) || len(heard) != 2 {
			t.Errorf("refused %v, changes %v", refused(s), heard)
		}
	})
}

// TestSync: after it, this replica knows what it wrote, and its caches were told before its subscribers.
func TestSync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, s := &ledger{mute: true}, NewSet(0)
		var invalidated []uint64
		h := running(t, l, s, func(c store.Change) { invalidated = append(invalidated, c.Sequence) })
		<-h.Ready()
		sub := h.Subscribe()
		l.revoke(live(Subject, "user:acme/okta|1"))
		l.change(store.ChangeConfig, "acme")
		l.change(store.ChangeKeys, store.PlatformOrg)
		if err := h.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !refused(s) || !slices.Equal(invalidated, []uint64{1, 2, 3}) {
			t.Errorf("refused %v, invalidated %v", refused(s), invalidated)
		}
		<-sub.More()
		got, ok := sub.Take()
		if !ok || len(got) != 3 || sub.Head() != h.Position() {
			t.Fatalf("events %v, %v", got, ok)
		}
		for i, kind := range []store.ChangeKind{store.ChangeRevocation, store.ChangeConfig, store.ChangeKeys} {
			e := got[i]
			if e.Sequence != uint64(i+1) || e.Change.Kind != kind || (e.Revocation != nil) != (kind == store.ChangeRevocation) {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.Sync(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("Sync with a context that has ended: %v", err)
		}
	})
}

// TestStoreAwayRefuses: a replica that cannot read its store does not know what others revoked.
func TestStoreAwayRefuses(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(l *ledger, on bool){
		"away":  func(l *ledger, on bool) { l.away = on },
		"hangs": func(l *ledger, on bool) { l.hang = on },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, s := &ledger{mute: true}, NewSet(0)
				h := running(t, l, s, nil)
				<-h.Ready()
				time.Sleep(time.Minute)
				l.set(func(l *ledger) { fail(l, true) })
				if err := s.Fresh(time.Now()); err != nil {
					t.Errorf("at once: %v", err)
				}
				l.revoke(live(Subject, "user:acme/okta|1")) // by another replica
				time.Sleep(DefaultStaleAfter + time.Second)
				if err := s.Check(claims(), time.Now()); !errors.Is(err, delegation.ErrUnavailable) {
					t.Errorf("after %s: %v", DefaultStaleAfter, err)
				}
				l.set(func(l *ledger) { fail(l, false) })
				time.Sleep(4 * time.Second)
				if err := s.Fresh(time.Now()); err != nil || !refused(s) {
					t.Errorf("after recovery: %v, refused %v", err, refused(s))
				}
			})
		})
	}
}

// TestRewoundStoreEndsTheHub: a backup was restored. The numbers start again, and would hide new revocations.
func TestRewoundStoreEndsTheHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{mute: true}
		for range 3 {
			l.revoke(live(Token, "x"))
		}
		h, err := NewHub(HubConfig{Store: l, Set: NewSet(0), Log: silent})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- h.Run(t.Context()) }()
		<-h.Ready()
		l.set(func(l *ledger) { l.away = true })
		time.Sleep(time.Second)
		l.set(func(l *ledger) { l.away, l.changes = false, l.changes[:1] })
		if err := <-done; !errors.Is(err, ErrRewound) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestSlowSubscriberIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{mute: true}
		h := running(t, l, NewSet(0), nil)
		<-h.Ready()
		slow, quick := h.Subscribe(), h.Subscribe()
		received := 0
		for range 3 {
			for range backlog / 2 {
				l.change(store.ChangeConfig, "acme")
			}
			if err := h.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			events, ok := quick.Take()
			if !ok {
				t.Fatal("the quick subscriber was cut off")
			}
			received += len(events)
		}
		if received != backlog/2*3 {
			t.Errorf("the quick subscriber has %d events", received)
		}
		<-slow.More()
		if events, ok := slow.Take(); ok {
			t.Errorf("the slow subscriber has %d events, and does not know that it missed some", len(events))
		}
	})
}

// TestSyncIsShared: of many that wait, one reads for those that came before it began.
func TestSyncIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, s := &ledger{mute: true}, NewSet(0)
		h := running(t, l, s, nil)
		<-h.Ready()
		time.Sleep(10 * time.Millisecond)
		turn := <-h.turn // somebody reads
		done := make(chan error, 100)
		for range 100 {
			go func() { done <- h.Sync(t.Context()) }()
		}
		synctest.Wait()
		time.Sleep(time.Millisecond)
		l.set(func(l *ledger) { l.asked = 0 })
		h.turn <- turn
		for range 100 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if l.asked != 1 {
			t.Errorf("100 callers asked the store %d times", l.asked)
		}
	})
}

// TestAnotherHistory: a store that was away and comes back as an older copy of itself, which has grown on since, is noticed
// by the marks of its changes; and no position of one history is taken for one of the other.
func TestAnotherHistory(t *testing.T) {
	t.Parallel()
	l, s := &ledger{mute: true}, NewSet(0)
	h, err := NewHub(HubConfig{Store: l, Set: s, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	l.change(store.ChangeConfig, "acme")
	old := l.change(store.ChangeConfig, "acme")
	if err := h.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.change(store.ChangeConfig, "acme")
	if err := h.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := h.Position()
	has := func(p Position) bool {
		ok, err := h.Has(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !has(at) || !has(Position{old, 2000}) || has(Position{}) || has(Position{old, 0}) || has(Position{old, 2001}) ||
		has(Position{at.Sequence + 1, at.Mark}) || has(Position{at.Sequence, at.Mark + 1}) {
		t.Error("a position is not told from another")
	}
	l.set(func(l *ledger) { l.away = true })
	if h.Sync(t.Context()) == nil {
		t.Fatal("Sync without a store succeeds")
	}
	l.set(func(l *ledger) { l.away, l.changes, l.history = false, l.changes[:2], 7 })
	l.change(store.ChangeConfig, "acme")
	l.change(store.ChangeConfig, "acme")
	if err := h.Sync(t.Context()); !errors.Is(err, ErrRewound) {
		t.Errorf("Sync: %v", err)
	}
}

// TestSubscribersMissNothing: head plus events is every change, in order, whatever the interleaving.
func TestSubscribersMissNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := &ledger{mute: true}
		h, err := NewHub(HubConfig{Store: l, Set: NewSet(0), Log: silent})
		if err != nil {
			t.Fatal(err)
		}
		type client struct {
			sub  *Subscription
			next uint64
		}
		var clients []*client
		sync := func() {
			if err := h.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		sync()
		t.Repeat(map[string]func(*rapid.T){
			"revoke": func(*rapid.T) { l.revoke(live(Token, "x")) },
			"change": func(*rapid.T) { l.change(store.ChangeConfig, "acme") },
			"away": func(*rapid.T) {
				l.away = true
				if h.Sync(context.Background()) == nil {
					t.Fatal("Sync without a store succeeds")
				}
				l.away = false
			},
			"subscribe": func(*rapid.T) {
				s := h.Subscribe()
				clients = append(clients, &client{s, s.Head().Sequence + 1})
			},
			"sync": func(*rapid.T) {
				sync()
				for _, c := range clients {
					events, ok := c.sub.Take()
					if !ok {
						t.Fatal("cut off")
					}
					for _, e := range events {
						if e.Sequence != c.next {
							t.Fatalf("event %d, want %d", e.Sequence, c.next)
						}
						c.next++
					}
					if c.next != uint64(len(l.changes))+1 {
						t.Fatalf("next is %d of %d", c.next, len(l.changes))
					}
				}
			},
		})
	})
}

func TestNewRefusesWhatSecurityNeeds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]HubConfig{
		"no store": {Set: NewSet(0), Log: silent}, "no set": {Store: &ledger{}, Log: silent}, "no log": {Store: &ledger{}, Set: NewSet(0)},
	} {
		if h, err := NewHub(c); err == nil || h != nil {
			t.Errorf("hub with %s: %v", name, err)
		}
	}
	feeds := []Feed{&wire{refuse: true}}
	for name, c := range map[string]FollowerConfig{
		"no feed": {Set: NewSet(0), Log: silent, Name: "a"}, "no set": {Feeds: feeds, Log: silent, Name: "a"},
		"no log": {Feeds: feeds, Set: NewSet(0), Name: "a"}, "no name": {Feeds: feeds, Set: NewSet(0), Log: silent},
	} {
		if f, err := NewFollower(c); err == nil || f != nil {
			t.Errorf("follower with %s: %v", name, err)
		}
	}
}
