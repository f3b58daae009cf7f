package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Message is one message of a feed. Exactly one of Revocation, Policy, Complete and Heartbeat is set.
type Message struct {
	Sequence   uint64
	Revocation *store.Revocation
	Policy     *Policy
	Complete   bool      // the snapshot ends here
	Heartbeat  time.Time // when the server last saw its store, by the server's clock
}

// Policy is an org's policy bundle.
type Policy struct {
	Org      delegation.OrgID
	Version  string
	Document []byte // JSON of policy.Bundle
	Deleted  bool   // forget the org's policy: every call is refused
}

// Stream is an open feed.
type Stream interface {
	// Recv returns the next message. It MUST return an error soon after the context of Connect ends.
	Recv() (Message, error)
}

// FollowerConfig makes a Follower.
type FollowerConfig struct {
	// Connect opens a feed that lives until ctx ends. Required.
	Connect func(ctx context.Context) (Stream, error)
	// Set is kept up to date. Required.
	Set *Set
	// OnPolicy is told each org's bundle, once a snapshot is whole and then as they change, on one goroutine. A bundle that
	// it cannot use must leave the org without a policy, never with the one before. Optional.
	OnPolicy func(Policy)
	// OnRevoked is called once entries are in force, on the same goroutine, with those among them that end connections: of kind
	// connection, and of subjects that have departed; after a snapshot with those of the snapshot. So what runs under a token
	// can be held against the set again. It answers how many calls it stopped. It must not block. Optional.
	OnRevoked func(ending []store.Revocation) (stopped int)
	// StaleAfter is how long the feed may be silent before it is given up and opened again. Default: the Set's bound.
	StaleAfter time.Duration
	Now        func() time.Time // default time.Now
	Log        *slog.Logger     // required
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
// While the feed is broken the set stays as it is, and refuses once it is stale. A new feed begins with a whole snapshot,
// which replaces the set at once, so it does not matter what was missed in between.
type Follower struct {
	c     FollowerConfig
	ready chan struct{}
	once  bool                          // a snapshot was whole
	orgs  map[delegation.OrgID]struct{} // whose policy OnPolicy was last told
	swept time.Time
}

// NewFollower returns a follower that begins with Run.
func NewFollower(c FollowerConfig) (*Follower, error) {
	switch {
	case c.Connect == nil:
		return nil, errors.New("revocation: a follower needs a feed to connect to")
	case c.Set == nil:
		return nil, errors.New("revocation: a follower needs a set")
	case c.Log == nil:
		return nil, errors.New("revocation: a follower needs a log")
	}
	if c.StaleAfter <= 0 {
		c.StaleAfter = c.Set.staleAfter
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnRevoked == nil {
		c.OnRevoked = func([]store.Revocation) int { return 0 }
	}
	if c.OnPolicy == nil {
		c.OnPolicy = func(Policy) {}
	}
	return &Follower{c: c, ready: make(chan struct{}), orgs: map[delegation.OrgID]struct{}{}}, nil
}

// Ready is closed once the first snapshot is whole.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Run follows until ctx ends, then returns nil. It opens the feed again whenever it breaks.
func (f *Follower) Run(ctx context.Context) error {
	wait := firstWait
	for {
		whole, err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end was asked for; whatever broke the feed is its consequence
		}
		if whole {
			wait = firstWait
		}
		f.c.Log.WarnContext(ctx, "lost the feed of revocations and policy", "error", err, "fresh", f.c.Set.Fresh(f.c.Now()) == nil)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + rand.N(wait/2)): // not all followers of a restarted server at once
		}
		wait = min(2*wait, lastWait)
	}
}

// feed is the state of one connection.
type feed struct {
	sequence  uint64
	snapshot  []store.Revocation
	policies  []Policy
	whole     bool
	refLocal  time.Time // when the least delayed heartbeat came, by our clock
	refServer time.Time // and what it said
}

// follow opens one feed and takes what it brings until it breaks. It reports whether the snapshot was whole.
func (f *Follower) follow(ctx context.Context) (whole bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A connection may die without a word. Every message proves life, and there is one a second.
	watchdog := time.AfterFunc(f.c.StaleAfter, func() { cancel(errSilent) })
	defer watchdog.Stop()
	var s feed
	stream, err := f.c.Connect(ctx)
	for err == nil {
		var m Message
		if m, err = stream.Recv(); err == nil {
			watchdog.Reset(f.c.StaleAfter)
			err = f.take(&s, m)
		}
	}
	if errors.Is(context.Cause(ctx), errSilent) {
		err = errSilent
	}
	return s.whole, err
}

// take puts one message into effect.
func (f *Follower) take(s *feed, m Message) error {
	if m.Sequence < s.sequence {
		return fmt.Errorf("%w: sequence %d after %d", errProtocol, m.Sequence, s.sequence)
	}
	s.sequence = m.Sequence
	switch {
	case m.Revocation != nil && s.whole:
		f.c.Set.Add(*m.Revocation)
		f.revoked(*m.Revocation)
	case m.Revocation != nil:
		s.snapshot = append(s.snapshot, *m.Revocation)
	case m.Policy != nil && s.whole:
		f.tell(*m.Policy)
	case m.Policy != nil:
		s.policies = append(s.policies, *m.Policy)
	case m.Complete && !s.whole:
		f.swap(s)
	case !m.Heartbeat.IsZero():
		return f.heartbeat(s, m.Heartbeat)
	default:
		return fmt.Errorf("%w: a message that means nothing here", errProtocol)
	}
	return nil
}

// swap puts a whole snapshot in place of what was there.
func (f *Follower) swap(s *feed) {
	f.c.Set.Replace(s.snapshot)
	f.revoked(s.snapshot...)
	gone := f.orgs
	f.orgs = map[delegation.OrgID]struct{}{}
	for _, p := range s.policies {
		delete(gone, p.Org)
		f.tell(p)
	}
	for org := range gone {
		f.tell(Policy{Org: org, Deleted: true})
	}
	s.whole, s.snapshot, s.policies = true, nil, nil
	if !f.once {
		f.once = true
		close(f.ready)
	}
}

// revoked tells of entries that are in force.
func (f *Follower) revoked(entries ...store.Revocation) {
	var ending []store.Revocation
	for _, e := range entries {
		if e.Departed || Kind(e.Kind) == Connection {
			ending = append(ending, e)
		}
	}
	if stopped := f.c.OnRevoked(ending); stopped > 0 {
		f.c.Log.Info("a revocation stopped calls that ran", "stopped", stopped)
	}
}

func (f *Follower) tell(p Policy) {
	if p.Deleted {
		delete(f.orgs, p.Org)
	} else {
		f.orgs[p.Org] = struct{}{}
	}
	f.c.OnPolicy(p)
}

// heartbeat says how fresh the set is. The server's clock and ours may differ, so `at` is not compared with our time: the
// least delayed heartbeat of this connection is taken as fresh, and every other one is as much older as it came later
// than its `at` has advanced. So heartbeats that were held up on the way, or that repeat an old `at` because the server
// has lost its store, do not make the set fresh. (A server lets nobody in while it cannot reach its store.)
func (f *Follower) heartbeat(s *feed, at time.Time) error {
	if !s.whole {
		return nil // alive, but what it has sent is no state yet
	}
	now := f.c.Now()
	if s.refLocal.IsZero() || now.Sub(s.refLocal) < at.Sub(s.refServer) {
		s.refLocal, s.refServer = now, at
	}
	f.c.Set.Heard(s.refLocal.Add(at.Sub(s.refServer)))
	if now.Sub(f.swept) >= sweep {
		f.swept = now
		f.c.Set.Expire(now)
	}
	if f.c.Set.Fresh(now) != nil {
		return errBehind // another replica may be better off
	}
	return nil
}
