package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

var errBroken = errors.New("connection reset")

// wire is a feed in memory: one channel of messages a connection.
type wire struct {
	opened chan *line // each connection, as it is opened
	refuse bool
	times  []time.Time // of the attempts
}

// line is one connection, seen from the server.
type line struct {
	ctx    context.Context
	in     chan Message
	broken chan struct{}
	hello  Hello
	// What the follower has confirmed, and whether it has closed.
	confirmed []uint64
	closed    bool
}

func (l *line) Confirm(c Confirmation) error {
	l.confirmed = append(l.confirmed, c.Sequence)
	return nil
}

func (l *line) Close() { l.closed = true }

func (w *wire) Open(ctx context.Context, h Hello) (Stream, error) {
	w.times = append(w.times, time.Now())
	if w.refuse {
		return nil, errBroken
	}
	l := &line{ctx: ctx, hello: h, in: make(chan Message, 100), broken: make(chan struct{})}
	w.opened <- l
	return l, nil
}

func (l *line) Recv() (Message, error) {
	select {
	case m := <-l.in:
		return m, nil
	default:
	}
	select {
	case m := <-l.in:
		return m, nil
	case <-l.broken:
		return Message{}, errBroken
	case <-l.ctx.Done():
		return Message{}, l.ctx.Err()
	}
}

func (l *line) send(messages ...Message) {
	for _, m := range messages {
		l.in <- m
	}
	synctest.Wait()
}

func heartbeatAt(t time.Time) Message { return Message{Heartbeat: t} }
func revoked(kind Kind, id string) Message {
	r := live(kind, id)
	return Message{Revocations: []store.Revocation{r}}
}
func policy(org, version string) Message {
	return Message{Policy: &Policy{Org: delegation.OrgID(org), Version: version}}
}

// follows is a follower that runs, and what it told.
type follows struct {
	*Follower
	set    *Set
	told   []string
	ending []int // of each OnRevoked
}

func following(t *testing.T) (*wire, *follows) {
	t.Helper()
	w, f := &wire{opened: make(chan *line, 100)}, &follows{set: NewSet(0)}
	var err error
	f.Follower, err = NewFollower(FollowerConfig{Feeds: []Feed{w}, Name: "test", Set: f.set, Log: silent,
		OnRevoked: func(ending []store.Revocation) int {
			f.ending = append(f.ending, len(ending))
			return 0
		},
		OnPolicy: func(p Policy) { f.told = append(f.told, fmt.Sprintf("%s %s %v", p.Org, p.Version, p.Deleted)) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w, f
}

func (f *follows) heard(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(f.told, want) {
		t.Errorf("told %v, want %v", f.told, want)
	}
	f.told = nil
}

func (f *follows) fresh() bool { return f.set.Fresh(time.Now()) == nil }

var (
	opening  = Message{Opening: &Opening{}}
	resuming = Message{Opening: &Opening{Resumed: true}}
	complete = Message{Current: true}
)

func TestFollowerTakesASnapshotThenChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		l := <-w.opened
		l.send(opening, revoked(Subject, "user:acme/okta|1"), policy("acme", "1"), heartbeatAt(time.Now()))
		if f.fresh() || f.set.Len() != 0 || len(f.told) != 0 {
			t.Error("half a snapshot took effect")
		}
		l.send(complete)
		f.heard(t, "acme 1 false")
		select {
		case <-f.Ready(): // who waits for it may ask the set at once
			t.Error("ready without a heartbeat")
		default:
		}
		if f.fresh() {
			t.Error("fresh without a heartbeat")
		}
		l.send(heartbeatAt(time.Now()))
		<-f.Ready()
		if !refused(f.set) {
			t.Error("the snapshot does not refuse")
		}
	})
}

func TestFollowerTakesChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		l := <-w.opened
		l.send(opening, complete, heartbeatAt(time.Now()), revoked(Org, "acme"), policy("acme", "2"),
			Message{Policy: &Policy{Org: "acme", Deleted: true}})
		f.heard(t, "acme 2 false", "acme  true")
		if !refused(f.set) {
			t.Error("not refused")
		}
	})
}

// TestFollowerTellsOfWhatIsInForce: once for a snapshot, when it is whole, and for each change; with those that end connections.
func TestFollowerTellsOfWhatIsInForce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		l := <-w.opened
		left := revoked(Subject, "user:acme/okta|1")
		left.Revocations[0].Departed = true
		l.send(opening, left, left, revoked(Org, "acme"))
		if len(f.ending) != 0 {
			t.Errorf("told before the snapshot was whole: %v", f.ending)
		}
		l.send(complete, revoked(Token, "j"), left, revoked(Connection, "c"))
		if !slices.Equal(f.ending, []int{2, 0, 1, 1}) {
			t.Errorf("told %v", f.ending)
		}
	})
}

// TestSilenceRefuses: a cut feed must not pass for a quiet one, and a dead connection is given up.
func TestSilenceRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		first := <-w.opened
		first.send(opening, complete)
		for range 20 {
			first.send(heartbeatAt(time.Now()))
			time.Sleep(time.Second)
			if !f.fresh() {
				t.Fatal("stale although it hears")
			}
		}
		time.Sleep(DefaultStaleAfter)
		if err := f.set.Check(claims(), time.Now()); !errors.Is(err, delegation.ErrUnavailable) {
			t.Errorf("after silence: %v", err)
		}
		second := <-w.opened
		for second.ctx.Err() != nil { // it was silent as well
			second = <-w.opened
		}
		if first.ctx.Err() == nil {
			t.Error("the silent connection was not closed")
		}
		second.send(opening, revoked(Subject, "user:acme/okta|1"))
		if f.fresh() {
			t.Error("fresh before the new snapshot is whole")
		}
		second.send(complete, heartbeatAt(time.Now()))
		if !refused(f.set) {
			t.Error("what was revoked meanwhile is not refused")
		}
	})
}

// TestASnapshotReplacesAll: what is missing from it is gone, policy of orgs included.
func TestASnapshotReplacesAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		l := <-w.opened
		l.send(opening, revoked(Subject, "user:acme/okta|1"), policy("acme", "1"), policy("gone", "1"), complete, heartbeatAt(time.Now()))
		f.heard(t, "acme 1 false", "gone 1 false")
		close(l.broken)
		l = <-w.opened
		l.send(opening, policy("acme", "2"))
		if !refused(f.set) {
			t.Error("the old content was given up before the new was whole")
		}
		l.send(revoked(Token, "x"), complete, heartbeatAt(time.Now()))
		f.heard(t, "acme 2 false", "gone  true")
		if refused(f.set) || f.set.Len() != 1 {
			t.Errorf("%d entries", f.set.Len())
		}
	})
}

// TestServerThatLostItsStore: its heartbeats repeat the time when it last saw the store.
func TestServerThatLostItsStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		l := <-w.opened
		l.send(opening, complete)
		last := time.Now()
		stale := time.Time{}
		for range 12 {
			l.send(heartbeatAt(last))
			if !f.fresh() && stale.IsZero() {
				stale = time.Now()
			}
			time.Sleep(500 * time.Millisecond)
		}
		if age := stale.Sub(last); age < DefaultStaleAfter || age > DefaultStaleAfter+time.Second {
			t.Errorf("stale %s after the store was last seen", age)
		}
		select {
		case <-w.opened: // another replica may be better off
		default:
			t.Error("it stays with a server that knows nothing new")
		}
	})
}

// TestHeldUpHeartbeats: they were fresh when they were sent, not when a stalled connection hands them over.
func TestHeldUpHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		l := <-w.opened
		l.send(opening, complete, heartbeatAt(time.Now()))
		sent := time.Now().Add(time.Second)
		time.Sleep(4 * time.Second)
		l.send(heartbeatAt(sent)) // 3 s on the way
		time.Sleep(3 * time.Second)
		if f.fresh() {
			t.Errorf("fresh %s after the server sent its last heartbeat", time.Since(sent))
		}
	})
}

// TestHeldUpFirstHeartbeat: there is none before it to compare it with, but it says nothing of a time after the stream was asked for
// and held up since.
func TestHeldUpFirstHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		asked := time.Now()
		l := <-w.opened
		l.send(opening)
		time.Sleep(2 * time.Second)
		l.send(complete, heartbeatAt(asked)) // 2 s on the way
		if !f.fresh() {
			t.Error("not fresh within the bound")
		}
		time.Sleep(3500 * time.Millisecond)
		if f.fresh() {
			t.Errorf("fresh %s after the server last saw its store", time.Since(asked))
		}
	})
}

// TestClocksDiffer: the server's clock is an hour off, in either direction.
func TestClocksDiffer(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, f := following(t)
				l := <-w.opened
				l.send(opening, complete)
				for range 30 {
					l.send(heartbeatAt(time.Now().Add(skew)))
					time.Sleep(time.Second)
					if !f.fresh() {
						t.Fatal("stale although it hears")
					}
				}
				time.Sleep(DefaultStaleAfter)
				if f.fresh() {
					t.Error("fresh although it does not hear")
				}
			})
		})
	}
}

// TestServerClockIsSetBack: heartbeats seem old for a moment; a new connection learns the new clock.
func TestServerClockIsSetBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, f := following(t)
		l := <-w.opened
		l.send(opening, complete, heartbeatAt(time.Now()))
		for range 7 {
			time.Sleep(time.Second)
			l.send(heartbeatAt(time.Now().Add(-time.Minute)))
		}
		l = <-w.opened
		l.send(opening, complete, heartbeatAt(time.Now().Add(-time.Minute)))
		if !f.fresh() {
			t.Error("stale on the new connection")
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{refuse: true}
		f, err := NewFollower(FollowerConfig{Feeds: []Feed{w}, Name: "test", Set: NewSet(0), Log: silent})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := f.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if n := len(w.times); n < 30 || n > 75 {
			t.Errorf("%d attempts in a minute", n)
		}
		if w.times[1].Sub(w.times[0]) > firstWait || w.times[3].Sub(w.times[0]) > 8*firstWait {
			t.Errorf("the first attempts come late: %v", w.times[:4])
		}
		gaps := map[time.Duration]bool{}
		for i, at := range w.times[10:] {
			gap := at.Sub(w.times[9+i])
			gaps[gap] = true
			if gap > lastWait || gap < lastWait/2 {
				t.Errorf("gap %s", gap)
			}
		}
		if len(gaps) < 5 {
			t.Error("no jitter")
		}
	})
}

// TestMessagesThatMeanNothing end the feed: a follower that skips what it does not know may skip a revocation.
func TestMessagesThatMeanNothing(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]Message{
		"empty": {}, "current twice": complete, "opening twice": opening,
		"sequence went down": {Position: Position{1, 1}, Heartbeat: time.Now()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, _ := following(t)
				l := <-w.opened
				l.send(opening, Message{Position: Position{2, 2}, Current: true}, m)
				time.Sleep(firstWait)
				synctest.Wait()
				if len(w.opened) != 1 {
					t.Error("the feed was not given up")
				}
			})
		})
	}
}
