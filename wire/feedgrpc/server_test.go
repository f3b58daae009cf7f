package feedgrpc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watching is a call of Watch that runs in a synctest bubble.
type watching struct {
	out       *outlet
	err       chan error
	cancel    context.CancelFunc
	heartbeat time.Time // the last
	sequence  uint64
}

func call(t *testing.T, s *Server, buffer int) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{out: &outlet{ctx: ctx, sent: make(chan *obov1.WatchResponse, buffer)}, err: make(chan error, 1), cancel: cancel}
	go func() { w.err <- s.Watch(&obov1.WatchRequest{}, w.out) }()
	t.Cleanup(func() { cancel(); synctest.Wait() })
	return w
}

// events waits until the server rests and returns what it sent but heartbeats, in short.
func (w *watching) events(t *testing.T) (out []string) {
	t.Helper()
	synctest.Wait()
	for {
		select {
		case m := <-w.out.sent:
			if m.GetSequence() < w.sequence {
				t.Errorf("sequence %d after %d", m.GetSequence(), w.sequence)
			}
			w.sequence = m.GetSequence()
			switch e := m.GetEvent().(type) {
			case *obov1.WatchResponse_Revocation:
				out = append(out, e.Revocation.GetKind()+" "+e.Revocation.GetId())
			case *obov1.WatchResponse_Policy:
				out = append(out, strings.TrimSpace(fmt.Sprint("policy ", e.Policy.GetOrgId(), " ", e.Policy.GetVersion())))
				if e.Policy.GetDeleted() != (e.Policy.GetDocument() == nil) {
					t.Errorf("policy %v", e.Policy)
				}
			case *obov1.WatchResponse_SnapshotComplete:
				out = append(out, "complete")
			case *obov1.WatchResponse_Heartbeat:
				w.heartbeat = e.Heartbeat.GetAt().AsTime()
			}
		default:
			return out
		}
	}
}

func (w *watching) expect(t *testing.T, name string, want ...string) {
	t.Helper()
	if got := w.events(t); !slices.Equal(got, want) {
		t.Errorf("%s: sent %q, want %q", name, got, want)
	}
}

// settle lets a change reach the stream.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		d.revoke(revocation.Token, "j1")
		d.apply("acme", "1")
		d.apply("other", "7")
		s, _ := serve(t, d)
		w := call(t, s, 1000)
		w.expect(t, "snapshot", "token j1", "policy acme 1", "policy other 7", "complete")
		if w.heartbeat.IsZero() || w.sequence != 3 {
			t.Errorf("heartbeat %s, sequence %d", w.heartbeat, w.sequence)
		}
		d.revoke(revocation.Agent, "agent:acme/a")
		settle()
		w.expect(t, "revocation", "agent agent:acme/a")
		d.apply("acme", "2")
		settle()
		w.expect(t, "policy", "policy acme 2")
		d.apply("other", "")
		settle()
		w.expect(t, "deleted org", "policy other")
		d.do(func() { d.changed(store.ChangeConfig, store.PlatformOrg) })
		settle()
		w.expect(t, "the operator's policies are in every bundle", "policy acme 2")
		d.do(func() { d.changed(store.ChangeKeys, store.PlatformOrg) })
		settle()
		w.expect(t, "keys are no matter of the feed")
		if age := time.Since(w.heartbeat); w.sequence != 8 || age > time.Second {
			t.Errorf("sequence %d, heartbeat %s old", w.sequence, age)
		}
		w.cancel()
		if err := <-w.err; err == nil {
			t.Error("Watch ends without an error")
		}
	})
}

// TestNothingIsLostBetweenSnapshotAndChanges: a revocation commits after the set was read and before the snapshot is
// complete. That is the race that subscribing first closes.
func TestNothingIsLostBetweenSnapshotAndChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		d.apply("acme", "1")
		s, hub := serve(t, d)
		<-hub.Ready()
		d.do(func() {
			d.onBundle = func(delegation.OrgID) {
				d.revoke(revocation.Token, "j1")
				d.apply("acme", "2")
				if err := hub.Sync(t.Context()); err != nil { // the hub has delivered it before the snapshot ends
					t.Error(err)
				}
			}
		})
		w := call(t, s, 1000)
		w.expect(t, "snapshot, then what happened meanwhile", "policy acme 1", "complete", "token j1", "policy acme 2")
	})
}

// TestHeartbeatComesAfterWhatItVouchesFor: a heartbeat follows all that the hub had seen at its time.
func TestHeartbeatComesAfterWhatItVouchesFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		s, hub := serve(t, d)
		w := call(t, s, 0) // a reader that takes each message by hand
		pending := map[string]time.Time{}
		for i := range 50 {
			id := fmt.Sprint("j", i)
			d.revoke(revocation.Token, id)
			time.Sleep(time.Duration(i*7%90) * time.Millisecond)
			if err := hub.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			pending[id] = hub.Seen()
			for range i % 3 {
				switch e := (<-w.out.sent).GetEvent().(type) {
				case *obov1.WatchResponse_Revocation:
					delete(pending, e.Revocation.GetId())
				case *obov1.WatchResponse_Heartbeat:
					for id, seen := range pending {
						if !seen.After(e.Heartbeat.GetAt().AsTime()) {
							t.Errorf("a heartbeat of %s came before %s, seen at %s", e.Heartbeat.GetAt().AsTime(), id, seen)
						}
					}
				}
			}
		}
	})
}

// TestStoreAway: an open stream tells how old it is, and nobody new is let in.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		s, _ := serve(t, d)
		w := call(t, s, 1000)
		w.expect(t, "snapshot", "complete")
		settle()
		d.do(func() { d.away = true })
		away := time.Now()
		time.Sleep(10 * time.Second)
		w.expect(t, "nothing new")
		if w.heartbeat.After(away) {
			t.Errorf("a heartbeat says %s, the store went away at %s", w.heartbeat, away)
		}
		late := call(t, s, 1000)
		if err := <-late.err; status.Code(err) != codes.Unavailable {
			t.Errorf("a new follower: %v", err)
		}
		late.expect(t, "nothing for the new follower")
		d.do(func() { d.away = false })
		settle()
		w.events(t)
		if time.Since(w.heartbeat) > time.Second {
			t.Errorf("after recovery the heartbeat is %s old", time.Since(w.heartbeat))
		}
	})
}

// TestABundleThatCannotBeRead is withdrawn, sent once it can be read, and nobody else's trouble.
func TestABundleThatCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{failing: map[delegation.OrgID]bool{}}
		d.apply("acme", "1")
		d.apply("other", "1")
		s, _ := serve(t, d)
		w := call(t, s, 1000)
		w.expect(t, "snapshot", "policy acme 1", "policy other 1", "complete")
		d.do(func() { d.failing["acme"] = true })
		d.apply("acme", "2")
		d.apply("other", "2")
		settle()
		w.expect(t, "withdrawn", "policy acme", "policy other 2")
		settle()
		w.expect(t, "withdrawn once")
		d.do(func() { d.failing["acme"] = false })
		settle()
		w.expect(t, "read again", "policy acme 2")
	})
}

func TestASlowFollowerIsSentAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		s, _ := serve(t, d)
		w := call(t, s, 0)
		<-w.out.sent // complete; then it reads no more
		for range 3000 {
			d.revoke(revocation.Token, "j")
		}
		settle()
		go func() {
			for range w.out.sent {
			}
		}()
		if err := <-w.err; status.Code(err) != codes.Unavailable {
			t.Errorf("Watch: %v", err)
		}
		close(w.out.sent)
	})
}

func TestNewRefusesWhatIsMissing(t *testing.T) {
	t.Parallel()
	if s, err := New(Config{}); err == nil || s != nil {
		t.Errorf("New = %v, %v", s, err)
	}
}
