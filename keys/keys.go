// Package keys keeps the STS's signing keys: when each is published, signs, and goes.
//
// Plan is the whole of the thinking and is pure. Ring is the shell: it keeps the records in the store, their private parts
// sealed, and signs. Replicas agree through the store's compare-and-swap.
package keys

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// Store is where the keys are kept, for all replicas. SigningKeys MUST answer with the whole set and its generation;
// PutSigningKeys MUST replace the whole set durably, or change nothing and answer store.ErrConflict when generation is no
// longer current.
type Store interface {
	SigningKeys(ctx context.Context) (keys []store.SigningKey, generation int64, err error)
	PutSigningKeys(ctx context.Context, generation int64, keys []store.SigningKey) error
}

// State is where a key is in its life.
type State string

// The states, in order.
const (
	StatePublished State = "published" // in the JWKS, does not sign yet
	StateActive    State = "active"    // signs
	StateRetiring  State = "retiring"  // signs no more, tokens of it live
	StateRetired   State = "retired"   // no token of it lives; about to be removed
)

// Policy is how keys live.
type Policy struct {
	Algorithm    jose.Algorithm
	PublishAhead time.Duration // how long a key is in the JWKS before it signs: at least the time that verifiers cache it
	ActiveFor    time.Duration // how long a key signs
	MaxTokenLife time.Duration // how long a key stays after it signed last
}

// Record is the public part of a key's life: what Plan works on.
type Record struct {
	KID        string
	Algorithm  jose.Algorithm
	Published  time.Time
	Activate   time.Time
	Deactivate time.Time // zero while no successor is known
	Remove     time.Time // zero while no successor is known
}

// Info tells an operator about one key.
type Info struct {
	Record
	State State
}

// Config is what a Ring needs.
type Config struct {
	Store  Store
	Key    seal.Key // seals the private keys
	Policy Policy
	Now    func() time.Time
	Log    *slog.Logger
}

// Ring signs with the active key and publishes all that verifiers need.
type Ring struct{ cfg Config }

// Open loads the keys, and makes the first when there is none.
func Open(ctx context.Context, cfg Config) (*Ring, error) { return nil, errors.New("keys: not there yet") }

// Plan says which keys there should be.
func Plan(now time.Time, records []Record, p Policy) []Record { return records }

// Sign signs an approved token. It takes nothing else.
func (r *Ring) Sign(ctx context.Context, u delegation.Unsigned) (string, error) {
	return "", errors.New("keys: not there yet")
}

// JWKS is the published set (RFC 7517).
func (r *Ring) JWKS() []byte { return nil }

// Key finds a published key; a Ring is a delegation.KeySource.
func (r *Ring) Key(ctx context.Context, kid string, alg jose.Algorithm) (jose.Key, error) {
	return jose.Key{}, delegation.ErrUnknownKey
}

// Keys lists the keys, oldest first.
func (r *Ring) Keys() []Info { return nil }

// Rotate brings the next rotation forward: a successor is published now and signs after PublishAhead.
func (r *Ring) Rotate(ctx context.Context) error { return errors.New("keys: not there yet") }

// Reload reads the store again.
func (r *Ring) Reload(ctx context.Context) error { return errors.New("keys: not there yet") }

// Run rotates until ctx ends.
func (r *Ring) Run(ctx context.Context) error { return errors.New("keys: not there yet") }
