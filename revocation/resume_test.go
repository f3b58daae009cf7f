package revocation

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestResume: a follower says how far it is, and what comes then is added to what it has.
func TestResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		l := <-w.opened
		if l.hello.After != (Position{}) || l.hello.Name != "test" || len(l.hello.Instance) < 16 || l.hello.StaleAfter != DefaultStaleAfter {
			t.Errorf("hello %+v", l.hello)
		}
		l.send(opening, revoked(Subject, "user:acme/okta|1"), policy("acme", "1"), policy("gone", "1"),
			Message{Position: Position{7, 70}, Current: true}, heartbeatAt(time.Now()), Message{Position: Position{8, 80}, Heartbeat: time.Now()})
		f.heard(t, "acme 1 false", "gone 1 false")
		if !slices.Equal(l.confirmed, []uint64{7, 7, 8}) {
			t.Errorf("confirmed %v", l.confirmed)
		}
		close(l.broken)
		next := <-w.opened
		if !l.closed || next.hello.After != (Position{8, 80}) || next.hello.Instance != l.hello.Instance {
			t.Errorf("hello %+v, the stream before is closed: %v", next.hello, l.closed)
		}
		next.send(resuming, revoked(Token, "x"), policy("acme", "2"))
		if f.set.Len() != 2 || len(next.confirmed) != 0 {
			t.Errorf("%d entries, confirmed %v", f.set.Len(), next.confirmed)
		}
		// Half of what it lacks says nothing of how far it is.
		close(next.broken)
		l = <-w.opened
		if l.hello.After != (Position{8, 80}) {
			t.Errorf("hello %+v", l.hello)
		}
		l.send(resuming, revoked(Token, "x"), policy("acme", "2"), Message{Position: Position{9, 90}, Current: true})
		f.heard(t, "acme 2 false")
		if !refused(f.set) || f.set.Len() != 2 || !slices.Equal(l.confirmed, []uint64{9}) {
			t.Errorf("%d entries, confirmed %v", f.set.Len(), l.confirmed)
		}
	})
}

// TestALackingBundleForbidsResuming: the server that is asked next does not know what this one could not read.
func TestALackingBundleForbidsResuming(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		l := <-w.opened
		l.send(opening, policy("acme", "1"), Message{Position: Position{7, 70}, Current: true},
			Message{Policy: &Policy{Org: "acme", Unreadable: true}})
		f.heard(t, "acme 1 false", "acme  true")
		close(l.broken)
		l = <-w.opened
		if l.hello.After != (Position{}) {
			t.Errorf("hello %+v", l.hello)
		}
		l.send(opening, policy("acme", "1"), Message{Position: Position{7, 70}, Current: true})
		close(l.broken)
		if l = <-w.opened; l.hello.After != (Position{7, 70}) {
			t.Errorf("once it has it: hello %+v", l.hello)
		}
	})
}

// hole is a feed that never answers: a black hole.
type hole struct{ asked atomic.Int32 }

func (h *hole) Open(ctx context.Context, _ Hello) (Stream, error) {
	h.asked.Add(1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestAnotherReplicaIsAskedInTime: the replica that a follower hears from falls silent, the next is a black hole, the third
// is well. The set refuses for as long as it takes to find out, and no longer.
func TestAnotherReplicaIsAskedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second, set := &wire{opened: make(chan *line, 100)}, &wire{opened: make(chan *line, 100)}, NewSet(0)
		black := &hole{}
		f, err := NewFollower(FollowerConfig{Feeds: []Feed{first, second, black}, Name: "test", Set: set, Log: silent})
		if err != nil {
			t.Fatal(err)
		}
		go f.Run(t.Context())
		l := <-first.opened
		if l.hello.Policies {
			t.Error("it asks for policies that nobody wants")
		}
		l.send(opening, complete, heartbeatAt(time.Now()))
		silence := time.Now()
		other := <-second.opened // the first says nothing more
		if waited := time.Since(silence); waited > DefaultStaleAfter*3/5 {
			t.Errorf("the next was asked after %s", waited)
		}
		if set.Fresh(time.Now()) != nil {
			t.Error("it refuses before it could ask another")
		}
		// One that has lost its store vouches for nothing: it is left before the set refuses.
		seen := time.Now()
		other.send(opening, complete, heartbeatAt(seen))
		for other.ctx.Err() == nil {
			time.Sleep(500 * time.Millisecond)
			other.send(heartbeatAt(seen))
		}
		if set.Fresh(time.Now()) != nil {
			t.Error("it refuses before it leaves a server that has lost its store")
		}
		for black.asked.Load() == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		l = <-first.opened // back again, after the hole
		if age := time.Since(seen); age > 2*DefaultStaleAfter {
			t.Errorf("the hole took %s", age)
		}
		if set.Fresh(time.Now()) == nil {
			t.Error("fresh although nobody is heard")
		}
		l.send(opening, complete, heartbeatAt(time.Now()))
		if set.Fresh(time.Now()) != nil {
			t.Error("it does not recover")
		}
	})
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", " ", "a b", "a\n", "\x1b[0m", "ä", strings.Repeat("a", 64)} {
		if _, err := ParseName(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
		if got, err := ParseName(NameOf(bad)); err != nil {
			t.Errorf("%q becomes %q: %v", bad, got, err)
		}
	}
	if got := NameOf("exec-1.acme:9"); got != "exec-1.acme:9" {
		t.Errorf("a good name becomes %q", got)
	}
}
