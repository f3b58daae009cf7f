package revocation

import (
	"context"
	"log/slog"
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
	// StaleAfter is how long the feed may be silent before it is given up and opened again. Default: the Set's.
	StaleAfter time.Duration
	Now        func() time.Time // default time.Now
	Log        *slog.Logger     // required
}

// Follower keeps a Set up to date from another server's feed.
type Follower struct{}

// NewFollower returns a follower that begins with Run.
func NewFollower(c FollowerConfig) (*Follower, error) { return nil, errUnfinished }

// Run follows until ctx ends, and opens the feed again whenever it breaks.
func (f *Follower) Run(ctx context.Context) error { return errUnfinished }

// Ready is closed once the first snapshot is whole.
func (f *Follower) Ready() <-chan struct{} { return nil }
