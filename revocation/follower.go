package revocation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	jitter "math/rand/v2"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Message is one message of a feed. Exactly one of Opening, Revocations, Policy, Current and Heartbeat is set.
type Message struct {
	Position    // once this message is in force, so is every change up to here; zero, and before Current, it says nothing
	Opening     *Opening
	Revocations []store.Revocation
	Policy      *Policy
	Current     bool      // what the follower lacked ends here
	Heartbeat   time.Time // when the server last saw its store, by the server's clock
}

// Opening is a feed's first message.
type Opening struct {
	Resumed bool // what comes before Current is what changed since the position of Hello, and not everything
}

// Policy is an org's policy bundle.
type Policy struct {
	Org        delegation.OrgID
	Version    string
	Document   []byte // JSON of policy.Bundle
	Deleted    bool   // forget the org's policy: every call is refused
	Unreadable bool   // the same, until it is sent again
}

// Hello is how a follower introduces itself.
type Hello struct {
	Name       string        // for people
	Instance   string        // random; tells this process from others of that name
	After      Position      // how far its set is; zero when it has nothing
	StaleAfter time.Duration // how long it answers without hearing
	Policies   bool          // it decides by policy
}

// Confirmation says what a follower has in force.
type Confirmation struct {
	Sequence uint64
	Stopped  int // calls that ran and were stopped, since the confirmation before
}

// Feed is a server to follow: one replica's address, or a name behind which there are several.
type Feed interface {
	// Open opens a stream that lives until ctx ends. It MUST return soon after that.
	Open(ctx context.Context, h Hello) (Stream, error)
}

// Stream is an open feed.
type Stream interface {
	// Recv returns the next message. It MUST return an error soon after the context of Open ends.
	Recv() (Message, error)
	// Confirm tells the server what is in force. It MUST return soon after the context of Open ends.
	Confirm(c Confirmation) error
	// Close frees what the stream holds, once its context has ended.
	Close()
}

// FollowerConfig makes a Follower.
type FollowerConfig struct {
	// Feeds are tried in turn. Required.
	Feeds []Feed
	// Set is kept up to date. Required.
	Set *Set
	// Name is how the operator sees this follower, as ParseName wants it. Required.
	Name string
	// OnPolicy is told each org's bundle, once a snapshot is whole and then as they change, on one goroutine. A bundle that
	// it cannot use must leave the org without a policy, never with the one before. Without OnPolicy none are asked for.
	OnPolicy func(Policy)
	// OnRevoked is called once entries are in force, on the same goroutine, with those among them that end connections: of kind
	// connection, and of subjects that have departed; after a snapshot with those of the snapshot. So what runs under a token
	// can be held against the set again. It answers how many calls it stopped. It must not block. Optional.
	OnRevoked func(ending []store.Revocation) (stopped int)
	Now       func() time.Time // default time.Now
	Log       *slog.Logger     // required
}

// ParseName checks a follower's name: 1 to 63 of letters, digits, '.', '_', ':' and '-'.
func ParseName(s string) (string, error) {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:-", r)
	}
	if s == "" || len(s) > 63 || strings.ContainsFunc(s, func(r rune) bool { return !ok(r) }) {
		return "", errors.New("revocation: a follower's name is 1 to 63 of letters, digits, '.', '_', ':' and '-'")
	}
	return s, nil
}

// NameOf makes a follower's name of any text, such as a host's name.
func NameOf(s string) string {
	s = strings.Map(func(r rune) rune {
		if _, err := ParseName(string(r)); err != nil {
			return '-'
		}
		return r
	}, s)
	if s == "" {
		return "unnamed"
	}
	return s[:min(len(s), 63)]
}

// Why a feed is given up. Each is followed by a new attempt.
var (
	errSilent   = errors.New("the feed is silent")
	errBehind   = errors.New("the feed's server has lost its store")
	errProtocol = errors.New("the feed breaks its protocol")
)

// The wait before a new attempt: below the shortest staleness bound that is of use, so that a server that restarts does
// not make its followers refuse for longer than it was away.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 2 * time.Second
)

// Follower keeps a Set up to date from another server's feed.
//
// While the feed is broken the set stays as it is, and refuses once it is stale. A new stream, to the next of the feeds,
// brings what came since, when the server knows the position that the set is at; otherwise everything, which replaces the
// set at once. So it does not matter what was missed in between.
type Follower struct {
	c        FollowerConfig
	instance string
	ready    chan struct{}
	once     bool                          // ready is closed
	at       Position                      // of the set
	orgs     map[delegation.OrgID]struct{} // whose policy OnPolicy was last told
	lacking  map[delegation.OrgID]struct{} // whose policy the server could not read
	stopped  int                           // calls, since the last confirmation
	swept    time.Time
}

// NewFollower returns a follower that begins with Run.
func NewFollower(c FollowerConfig) (*Follower, error) {
	switch {
	case len(c.Feeds) == 0:
		return nil, errors.New("revocation: a follower needs a feed")
	case c.Set == nil:
		return nil, errors.New("revocation: a follower needs a set")
	case c.Log == nil:
		return nil, errors.New("revocation: a follower needs a log")
	}
	if _, err := ParseName(c.Name); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnRevoked == nil {
		c.OnRevoked = func([]store.Revocation) int { return 0 }
	}
	return &Follower{c: c, instance: rand.Text(), ready: make(chan struct{}), orgs: map[delegation.OrgID]struct{}{},
		lacking: map[delegation.OrgID]struct{}{}}, nil
}

// Ready is closed once everything is there for the first time, and the set has been heard to be fresh.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Run follows until ctx ends, then returns nil. It opens a stream again whenever one breaks.
func (f *Follower) Run(ctx context.Context) error {
	wait := firstWait
	for n := 0; ; n++ {
		current, err := f.follow(ctx, f.c.Feeds[n%len(f.c.Feeds)])
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end was asked for; whatever broke the stream is its consequence
		}
		if current {
			wait = firstWait
		}
		f.c.Log.WarnContext(ctx, "lost the feed of revocations and policy", "error", err, "fresh", f.c.Set.Fresh(f.c.Now()) == nil)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + jitter.N(wait/2)): // not all followers of a restarted server at once
		}
		if (n+1)%len(f.c.Feeds) == 0 { // all were tried
			wait = min(2*wait, lastWait)
		}
	}
}

// patience is how long a stream may be silent, opening it included. It is half of the set's bound: so that there is time to
// open another before the set refuses.
func (f *Follower) patience() time.Duration { return f.c.Set.staleAfter / 2 }

// stream is the state of one stream.
type stream struct {
	Stream
	opened    bool
	resumed   bool
	draft     *Draft             // of everything; nil when resumed
	ending    []store.Revocation // those of them that end connections
	policies  []Policy
	current   bool
	at        Position
	confirmed bool
	asked     time.Time // when it was opened, by our clock
	refLocal  time.Time // when the least delayed heartbeat was sent at the earliest, by our clock
	refServer time.Time // and what it said
}

// follow opens one stream and takes what it brings until it breaks. It reports whether it became current.
func (f *Follower) follow(ctx context.Context, feed Feed) (current bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A connection may die without a word. Every message proves life.
	watchdog := time.AfterFunc(f.patience(), func() { cancel(errSilent) })
	defer watchdog.Stop()
	hello := Hello{Name: f.c.Name, Instance: f.instance, StaleAfter: f.c.Set.staleAfter, Policies: f.c.OnPolicy != nil}
	if len(f.lacking) == 0 {
		hello.After = f.at
	}
	s := stream{}
	s.asked = f.c.Now()
	s.Stream, err = feed.Open(ctx, hello)
	if err == nil {
		defer s.Close()
		defer cancel(nil) // before Close
	}
	for err == nil {
		var m Message
		if m, err = s.Recv(); err == nil {
			watchdog.Reset(f.patience())
			err = f.take(&s, m)
		}
	}
	if errors.Is(context.Cause(ctx), errSilent) {
		err = errSilent
	}
	return s.current, err
}

// take puts one message into effect, and says so.
func (f *Follower) take(s *stream, m Message) error {
	if s.opened == (m.Opening != nil) {
		return fmt.Errorf("%w: a stream begins with its opening, and has one", errProtocol)
	}
	if m.Position == (Position{}) {
		m.Position = s.at
	}
	if m.Sequence < s.at.Sequence {
		return fmt.Errorf("%w: sequence %d after %d", errProtocol, m.Sequence, s.at.Sequence)
	}
	if err := f.effect(s, m); err != nil || !s.current {
		return err
	}
	news := !s.confirmed || m.Sequence > s.at.Sequence
	s.at, f.at = m.Position, m.Position
	if !news && m.Heartbeat.IsZero() {
		return nil
	}
	s.confirmed = true
	c := Confirmation{Sequence: m.Sequence, Stopped: f.stopped}
	f.stopped = 0
	return s.Confirm(c)
}

func (f *Follower) effect(s *stream, m Message) error {
	switch {
	case m.Opening != nil:
		s.opened, s.resumed = true, m.Opening.Resumed
		if !s.resumed {
			s.draft = f.c.Set.Draft()
		}
	case m.Revocations != nil && (s.current || s.resumed):
		f.c.Set.Add(m.Revocations...)
		f.revoked(ending(m.Revocations))
	case m.Revocations != nil:
		s.draft.Add(m.Revocations...)
		s.ending = append(s.ending, ending(m.Revocations)...)
	case m.Policy != nil && s.current:
		f.tell(*m.Policy)
	case m.Policy != nil:
		s.policies = append(s.policies, *m.Policy)
	case m.Current && !s.current:
		f.complete(s)
	case !m.Heartbeat.IsZero():
		return f.heartbeat(s, m.Heartbeat)
	default:
		return fmt.Errorf("%w: a message that means nothing here", errProtocol)
	}
	return nil
}

// complete puts what the follower lacked in place.
func (f *Follower) complete(s *stream) {
	gone := map[delegation.OrgID]struct{}{}
	if !s.resumed {
		s.draft.Commit()
		f.revoked(s.ending)
		gone, f.orgs = f.orgs, gone
		clear(f.lacking)
	}
	for _, p := range s.policies {
		delete(gone, p.Org)
		f.tell(p)
	}
	for org := range gone {
		f.tell(Policy{Org: org, Deleted: true})
	}
	s.current, s.draft, s.ending, s.policies = true, nil, nil, nil
}

// ending are the entries that end connections.
func ending(entries []store.Revocation) (out []store.Revocation) {
	for _, e := range entries {
		if e.Departed || Kind(e.Kind) == Connection {
			out = append(out, e)
		}
	}
	return out
}

// revoked tells that entries are in force.
func (f *Follower) revoked(ending []store.Revocation) {
	if stopped := f.c.OnRevoked(ending); stopped > 0 {
		f.c.Log.Info("a revocation stopped calls that ran", "stopped", stopped)
		f.stopped += stopped
	}
}

func (f *Follower) tell(p Policy) {
	delete(f.lacking, p.Org)
	switch {
	case p.Unreadable:
		p.Deleted = true
		f.lacking[p.Org] = struct{}{}
		fallthrough
	case p.Deleted:
		delete(f.orgs, p.Org)
	default:
		f.orgs[p.Org] = struct{}{}
	}
	if f.c.OnPolicy != nil {
		f.c.OnPolicy(p)
	}
}

// heartbeat says how fresh the set is. The server's clock and ours may differ, so `at` is not compared with our time. A server
// looks at its store when a stream is opened, and lets nobody in while it cannot, so the first `at` is not before we asked: it
// is taken for that moment, however long it was on its way. Every other one is as much older as it came later than its `at`
// has advanced. So heartbeats that were held up on the way, or that repeat an old `at` because the server has lost its store,
// do not make the set fresh.
func (f *Follower) heartbeat(s *stream, at time.Time) error {
	if !s.current {
		return nil // alive, but what it has sent is no state yet
	}
	now := f.c.Now()
	switch {
	case s.refLocal.IsZero():
		s.refLocal, s.refServer = s.asked, at
	case now.Sub(s.refLocal) < at.Sub(s.refServer):
		s.refLocal, s.refServer = now, at
	}
	heard := s.refLocal.Add(at.Sub(s.refServer))
	f.c.Set.Heard(heard)
	if !f.once {
		f.once = true
		close(f.ready)
	}
	if now.Sub(f.swept) >= sweep {
		f.swept = now
		f.c.Set.Expire(now)
	}
	// Another replica may be better off. Where there is one, it is asked before the set refuses.
	if f.c.Set.Fresh(now) != nil || len(f.c.Feeds) > 1 && now.Sub(heard) > f.patience() {
		return errBehind
	}
	return nil
}
