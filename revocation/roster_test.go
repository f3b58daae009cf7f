package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onbehalf/obo/store"
)

// board is a RosterStore in memory.
type board struct {
	mu     sync.Mutex
	rows   map[string]store.Replica
	writes int
}

// written counts the writes since it was last asked.
func (b *board) written() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.writes
	b.writes = 0
	return n
}

func (b *board) PutReplica(_ context.Context, r store.Replica, forget time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++
	b.rows[r.ID] = r
	for id, row := range b.rows {
		if row.Seen.Before(forget) {
			delete(b.rows, id)
		}
	}
	return nil
}

func (b *board) Replicas(context.Context) (out []store.Replica, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.rows {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b store.Replica) int { return a.Since.Compare(b.Since) })
	return out, nil
}

func (b *board) DeleteReplica(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rows, id)
	return nil
}

// replica is a hub and its roster that run in a synctest bubble.
type replica struct {
	*Roster
	stop func()
}

func replicaOf(t *testing.T, l *ledger, b *board, name string) *replica {
	t.Helper()
	h := running(t, l, NewSet(0), nil)
	<-h.Ready()
	r, err := NewRoster(RosterConfig{Store: b, Hub: h, Name: name, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	out := &replica{Roster: r, stop: sync.OnceFunc(func() { cancel(); <-done })}
	t.Cleanup(out.stop)
	time.Sleep(time.Millisecond) // so that it is older than the next
	return out
}

func (r *replica) join(t *testing.T, name string) *Member {
	t.Helper()
	m, err := r.Join(Hello{Name: name, Instance: name + "-0123456789abcdef", StaleAfter: DefaultStaleAfter}, "10.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// await says how long it takes until a change is in force everywhere.
func (r *replica) await(t *testing.T, sequence uint64, atMost time.Duration) (took time.Duration, replicas []Replica, complete bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	defer cancel()
	begin := time.Now()
	replicas, complete, err := r.Await(ctx, sequence)
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(begin), replicas, complete
}

// TestAwaitWaitsForAllOfAllReplicas, whoever of them is asked.
func TestAwaitWaitsForAllOfAllReplicas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, b := &ledger{}, &board{rows: map[string]store.Replica{}}
		a, other := replicaOf(t, l, b, "a"), replicaOf(t, l, b, "b")
		near, far := a.join(t, "near"), other.join(t, "far")
		n := l.revoke(live(Token, "x"))
		near.Confirm(Confirmation{Sequence: n})
		took, replicas, complete := a.await(t, n, time.Second)
		if complete || took != time.Second || len(replicas) != 2 {
			t.Fatalf("complete %v after %s: %+v", complete, took, replicas)
		}
		if !replicas[0].Confirmed(n) || replicas[1].Confirmed(n) || replicas[1].Followers[0].Name != "far" {
			t.Errorf("%+v", replicas)
		}
		time.AfterFunc(100*time.Millisecond, func() { far.Confirm(Confirmation{Sequence: n}) })
		if took, _, complete = a.await(t, n, 10*time.Second); !complete || took > 100*time.Millisecond+reportAt+askEvery+gather {
			t.Errorf("complete %v after %s", complete, took)
		}
		if took, _, complete = other.await(t, n, 10*time.Second); !complete || took > time.Millisecond {
			t.Errorf("the other: complete %v after %s", complete, took)
		}
		list, err := a.List(t.Context())
		if err != nil || list[0].Name != "a" || list[1].Followers[0].Lag < time.Second {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestALostFollowerRefuses: it counts until its own bound has passed, or until it is elsewhere and confirms there.
func TestALostFollowerRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, b := &ledger{}, &board{rows: map[string]store.Replica{}}
		a, other := replicaOf(t, l, b, "a"), replicaOf(t, l, b, "b")
		gone, moves := other.join(t, "gone"), other.join(t, "moves")
		time.Sleep(time.Second)
		gone.Beat()
		moves.Beat()
		gone.Leave()
		moves.Leave()
		n := l.revoke(live(Token, "x"))
		moved := a.join(t, "moves")
		moved.Confirm(Confirmation{Sequence: n})
		took, replicas, complete := a.await(t, n, 20*time.Second)
		if !complete || took < DefaultStaleAfter+slack || took > DefaultStaleAfter+2*slack {
			t.Errorf("complete %v after %s: %+v", complete, took, replicas)
		}
	})
}

// TestAReplicaThatDies confirms nothing, and is forgotten in time; one that ends in order is at once no matter of its own,
// but the followers that it had are, until they refuse.
func TestAReplicaThatDies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, b := &ledger{}, &board{rows: map[string]store.Replica{}}
		a, ends := replicaOf(t, l, b, "a"), replicaOf(t, l, b, "ends")
		m := ends.join(t, "left")
		m.Beat()
		m.Leave()
		ends.stop()
		b.rows["dead"] = store.Replica{ID: "dead", Since: time.Now(), Seen: time.Now(),
			Document: fmt.Appendf(nil, `{"id":"dead","seen":%q}`, time.Now().Format(time.RFC3339Nano))}
		n := l.revoke(live(Token, "x"))
		_, replicas, complete := a.await(t, n, time.Second)
		if complete || len(replicas) != 3 {
			t.Errorf("complete %v: %+v", complete, replicas)
		}
		time.Sleep(DefaultStaleAfter + slack)
		if _, replicas, _ = a.await(t, n, time.Second); len(replicas) != 2 { // what it left behind refuses
			t.Errorf("%+v", replicas)
		}
		time.Sleep(ForgetAfter)
		if took, replicas, complete := a.await(t, n, time.Second); !complete || took > 0 || len(replicas) != 1 {
			t.Errorf("complete %v after %s: %+v", complete, took, replicas)
		}
	})
}

// TestWritesAreBounded: however many followers confirm however often, a replica writes a few times a second, and rarely
// when nothing happens.
func TestWritesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, b := &ledger{}, &board{rows: map[string]store.Replica{}}
		a := replicaOf(t, l, b, "a")
		var members []*Member
		for i := range 500 {
			members = append(members, a.join(t, fmt.Sprint("f", i)))
		}
		time.Sleep(time.Second)
		b.written()
		for range 100 {
			n := l.revoke(live(Token, "x"))
			for _, m := range members {
				m.Confirm(Confirmation{Sequence: n})
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := b.written(); n > 45 || n < 30 {
			t.Errorf("%d writes in 10 s of news", n)
		}
		time.Sleep(time.Second)
		b.written()
		time.Sleep(time.Minute)
		if n := b.written(); n > 13 {
			t.Errorf("%d writes in a minute without news", n)
		}
	})
}

// TestFull: a replica keeps so many followers and no more.
func TestFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := replicaOf(t, &ledger{}, &board{rows: map[string]store.Replica{}}, "a")
		var last *Member
		for i := range maxFollowers {
			last = a.join(t, fmt.Sprint("f", i))
		}
		if _, err := a.Join(Hello{Name: "x", Instance: "x"}, ""); !errors.Is(err, ErrFull) {
			t.Errorf("one more: %v", err)
		}
		a.join(t, last.report.Name) // again, the same one
		last.Leave()
		if _, err := a.Join(Hello{Name: "x", Instance: "x"}, ""); !errors.Is(err, ErrFull) {
			t.Errorf("one more: %v", err)
		}
	})
}
