package feedgrpc

import (
	"context"
	"crypto/rand"
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

// watching is a call of Follow that runs in a synctest bubble.
type watching struct {
	out       *end
	err       chan error
	cancel    context.CancelFunc
	heartbeat time.Time // the last
	at        revocation.Position
	current   bool
}

// call follows; the follower has everything up to a position.
func call(t *testing.T, s *Server, buffer int, after ...revocation.Position) *watching {
	t.Helper()
	h := revocation.Hello{Name: "test", Instance: rand.Text(), StaleAfter: revocation.DefaultStaleAfter, Policies: true}
	if len(after) > 0 {
		h.After = after[0]
	}
	return callAs(t, s, buffer, h)
}

func callAs(t *testing.T, s *Server, buffer int, h revocation.Hello) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{err: make(chan error, 1), cancel: cancel, out: &end{ctx: ctx, sent: make(chan *obov1.FollowResponse, buffer),
		said: make(chan *obov1.FollowRequest, 1000)}}
	w.out.said <- &obov1.FollowRequest{Event: &obov1.FollowRequest_Hello{Hello: hello(h)}}
	go func() {
		err := s.Follow(w.out)
		cancel() // as grpc-go ends a stream's context with its handler
		w.err <- err
	}()
	t.Cleanup(func() { cancel(); synctest.Wait() })
	return w
}

// confirm answers as a follower does.
func (w *watching) confirm(sequence uint64) {
	w.out.said <- &obov1.FollowRequest{Event: &obov1.FollowRequest_Confirm{Confirm: &obov1.Confirm{Sequence: sequence}}}
}

// events waits until the server rests and returns what it sent but heartbeats, in short.
func (w *watching) events(t *testing.T) (out []string) {
	t.Helper()
	synctest.Wait()
	for {
		select {
		case m := <-w.out.sent:
			out = append(out, w.event(t, m)...)
		default:
			return out
		}
	}
}

func (w *watching) event(t *testing.T, m *obov1.FollowResponse) (out []string) {
	t.Helper()
	if p := m.GetPosition(); p != nil && w.current {
		if p.GetSequence() < w.at.Sequence {
			t.Errorf("sequence %d after %d", p.GetSequence(), w.at.Sequence)
		}
		w.at = revocation.Position{Sequence: p.GetSequence(), Mark: p.GetMark()}
	}
	switch e := m.GetEvent().(type) {
	case *obov1.FollowResponse_Opening:
		if e.Opening.GetResumed() {
			out = append(out, "resumed")
		}
	case *obov1.FollowResponse_Revocations:
		for _, r := range e.Revocations.GetRevocations() {
			out = append(out, r.GetKind()+" "+r.GetId())
		}
	case *obov1.FollowResponse_Policy:
		text := fmt.Sprint("policy ", e.Policy.GetOrgId(), " ", e.Policy.GetVersion())
		if e.Policy.GetUnreadable() {
			text += "unreadable"
		}
		out = append(out, strings.TrimSpace(text))
		if (e.Policy.GetDeleted() || e.Policy.GetUnreadable()) != (e.Policy.GetDocument() == nil) {
			t.Errorf("policy %v", e.Policy)
		}
	case *obov1.FollowResponse_Current:
		w.current = true
		out = append(out, "complete")
	case *obov1.FollowResponse_Heartbeat:
		w.heartbeat = e.Heartbeat.GetAt().AsTime()
		w.confirm(m.GetPosition().GetSequence())
	}
	return out
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

func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		d.revoke(revocation.Token, "j1")
		d.apply("acme", "1")
		d.apply("other", "7")
		s, _ := serve(t, d)
		w := call(t, s, 1000)
		w.expect(t, "snapshot", "token j1", "policy acme 1", "policy other 7", "complete")
		if w.heartbeat.IsZero() || w.at.Sequence != 3 {
			t.Errorf("heartbeat %s, at %v", w.heartbeat, w.at)
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
		if age := time.Since(w.heartbeat); w.at != (revocation.Position{Sequence: 8, Mark: 8001}) || age > time.Second {
			t.Errorf("at %v, heartbeat %s old", w.at, age)
		}
		w.cancel()
		if err := <-w.err; err == nil {
			t.Error("Follow ends without an error")
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
		w.expect(t, "snapshot, then what happened meanwhile", "policy acme 1", "complete", "policy acme 2", "token j1")
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
				case *obov1.FollowResponse_Revocations:
					for _, r := range e.Revocations.GetRevocations() {
						delete(pending, r.GetId())
					}
				case *obov1.FollowResponse_Heartbeat:
					w.confirm(0)
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
		for range 10 {
			time.Sleep(time.Second)
			w.expect(t, "nothing new")
		}
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
		settle()
		w.expect(t, "withdrawn", "policy acme unreadable")
		d.apply("other", "2") // orgs that change together come in any order
		settle()
		w.expect(t, "another org goes on", "policy other 2")
		settle()
		w.expect(t, "withdrawn once")
		d.do(func() { d.failing["acme"] = false })
		settle()
		w.expect(t, "read again", "policy acme 2")
	})
}

// TestASlowFollowerIsSentAway: one that reads nothing is cut off within its bound, and one that reads slower than things
// change once it is too far behind.
func TestASlowFollowerIsSentAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		s, hub := serve(t, d)
		w := call(t, s, 0)
		<-w.out.sent // the opening; then it reads no more
		begin := time.Now()
		if err := <-w.err; status.Code(err) != codes.Unavailable || time.Since(begin) > revocation.DefaultStaleAfter {
			t.Errorf("Follow after %s: %v", time.Since(begin), err)
		}
		w = call(t, s, 0)
		<-w.out.sent
		for range 5000 {
			d.revoke(revocation.Token, "j")
		}
		if err := hub.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-w.out.sent // that it is current, as of its beginning
		if err := <-w.err; status.Code(err) != codes.Unavailable {
			t.Errorf("Follow: %v", err)
		}
	})
}

// TestASilentFollowerIsCutOff: one that reads and confirms nothing may be behind a connection that is half dead.
func TestASilentFollowerIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := serve(t, &db{})
		w := call(t, s, 1000)
		begin := time.Now()
		if err := <-w.err; status.Code(err) != codes.Unavailable || time.Since(begin) != revocation.DefaultStaleAfter {
			t.Errorf("Follow after %s: %v", time.Since(begin), err)
		}
	})
}

// TestResumed: who says how far it is gets what came after; who is of another history gets everything.
func TestResumed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		d.apply("acme", "1")
		d.apply("other", "1")
		d.revoke(revocation.Token, "j1")
		s, _ := serve(t, d)
		w := call(t, s, 1000)
		w.expect(t, "everything", "token j1", "policy acme 1", "policy other 1", "complete")
		at := w.at
		w.cancel()
		d.revoke(revocation.Token, "j2")
		d.apply("acme", "2")
		d.apply("other", "")
		settle()
		w = call(t, s, 1000, at)
		resumed := w.events(t)
		slices.Sort(resumed)
		if want := []string{"complete", "policy acme 2", "policy other", "resumed", "token j2"}; !slices.Equal(resumed, want) {
			t.Errorf("resumed: %q", resumed)
		}
		at = w.at
		call(t, s, 1000, at).expect(t, "nothing new", "resumed", "complete")
		for name, p := range map[string]revocation.Position{
			"another history": {Sequence: at.Sequence, Mark: at.Mark + 1}, "the future": {Sequence: at.Sequence + 1, Mark: 9},
			"no mark": {Sequence: at.Sequence},
		} {
			call(t, s, 1000, p).expect(t, name, "token j1", "token j2", "policy acme 2", "complete")
		}
		// The operator's policies are in every bundle.
		d.do(func() { d.changed(store.ChangeConfig, store.PlatformOrg) })
		settle()
		call(t, s, 1000, at).expect(t, "the operator's policies", "resumed", "policy acme 2", "complete")
		h := revocation.Hello{Name: "service", Instance: rand.Text(), StaleAfter: time.Second}
		w = callAs(t, s, 1000, h)
		w.expect(t, "without policies", "token j1", "token j2", "complete")
		d.apply("acme", "3")
		d.revoke(revocation.Token, "j3")
		time.Sleep(200 * time.Millisecond)
		w.expect(t, "without policies", "token j3")
	})
}

// TestManyReadOnce: what a hundred followers that come at once are told is read once, whatever its size.
func TestManyReadOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		d.apply("acme", "1")
		for i := range 2500 {
			d.revoke(revocation.Token, fmt.Sprint("j", i))
		}
		s, hub := serve(t, d)
		<-hub.Ready()
		d.do(func() { d.reads, d.bundleReads = 0, 0 })
		var all []*watching
		for range 100 {
			all = append(all, call(t, s, 1000))
		}
		for _, w := range all {
			if got := w.events(t); len(got) != 2502 || got[0] != "token j0" || got[2499] != "token j2499" {
				t.Fatalf("sent %d", len(got))
			}
		}
		if d.reads != 3 || d.bundleReads != 1 {
			t.Errorf("pages were read %d times and the bundle %d times", d.reads, d.bundleReads)
		}
	})
}

// TestHelloIsChecked: what a follower says of itself is shown to operators.
func TestHelloIsChecked(t *testing.T) {
	t.Parallel()
	good := func() *obov1.Hello {
		return hello(revocation.Hello{Name: "a", Instance: rand.Text(), StaleAfter: time.Second})
	}
	request := func(h *obov1.Hello) *obov1.FollowRequest {
		return &obov1.FollowRequest{Event: &obov1.FollowRequest_Hello{Hello: h}}
	}
	if _, err := parseHello(request(good())); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, spoil := range map[string]func(*obov1.Hello){
		"no name":           func(h *obov1.Hello) { h.Name = "" },
		"escape in name":    func(h *obov1.Hello) { h.Name = "\x1b[2J" },
		"long name":         func(h *obov1.Hello) { h.Name = strings.Repeat("a", 64) },
		"short instance":    func(h *obov1.Hello) { h.Instance = "abc" },
		"odd instance":      func(h *obov1.Hello) { h.Instance = strings.Repeat("-", 20) },
		"no bound":          func(h *obov1.Hello) { h.StaleAfter = nil },
		"bound of a second": func(h *obov1.Hello) { h.StaleAfter.Seconds = 0 },
		"bound of an hour":  func(h *obov1.Hello) { h.StaleAfter.Seconds = 3600 },
	} {
		h := good()
		spoil(h)
		if _, err := parseHello(request(h)); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseHello(&obov1.FollowRequest{Event: &obov1.FollowRequest_Confirm{Confirm: &obov1.Confirm{}}}); err == nil {
		t.Error("a confirmation before hello is taken")
	}
}

func TestNewRefusesWhatIsMissing(t *testing.T) {
	t.Parallel()
	if s, err := New(Config{}); err == nil || s != nil {
		t.Errorf("New = %v, %v", s, err)
	}
}
