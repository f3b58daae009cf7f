// Package keys keeps the STS's signing keys: when each is published, when it signs, and when it goes (DESIGN §7).
//
// Plan is the thinking, and is pure. Ring is the shell around it: it keeps the keys in the store, their private parts sealed,
// and signs. Replicas agree through the store's compare-and-swap, and a replica that has not heard from the store for longer
// than a successor waits refuses to sign: it cannot know that its key is still the one.
package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// The reasons for which a Ring refuses. Compare with errors.Is.
var (
	// ErrStale: the store has not been read for longer than PublishAhead, so another replica may have moved on.
	ErrStale = errors.New("keys: not read from the store for too long")
	// ErrLife: the token would outlive the publication of its key.
	ErrLife = errors.New("keys: the token lives longer than keys are kept for")
	// ErrSealed: a stored key does not open, or is not the one that its record says. The store was changed from outside, or the
	// key-encryption key is another.
	ErrSealed = errors.New("keys: a stored key does not open")
	// ErrBurnt: the key that signs is in wrong hands, and no successor signs yet.
	ErrBurnt = errors.New("keys: the signing key is in wrong hands, and its successor does not sign yet")
	// ErrSource: a device or service that holds keys does not answer, or has no such key.
	ErrSource = errors.New("keys: the key source does not serve")
	// ErrAlgorithm: no key signs with the algorithm that was chosen.
	ErrAlgorithm = errors.New("keys: no key signs with that algorithm")
)

// Store is where the keys are kept, for all replicas. SigningKeys MUST answer with the whole set and its generation.
// PutSigningKeys MUST replace the whole set durably, or answer store.ErrConflict and change nothing when generation is no
// longer the current one.
type Store interface {
	SigningKeys(ctx context.Context) (keys []store.SigningKey, generation int64, err error)
	PutSigningKeys(ctx context.Context, generation int64, keys []store.SigningKey) error
}

// Config is what a Ring needs.
type Config struct {
	Store  Store    // required
	Key    seal.Key // seals the private keys; required
	Policy Policy
	// Sources are the devices and services that hold private keys, by name. Source is the one that makes new keys; when it is empty
	// they are made here, and sealed in the store. Optional.
	Sources map[string]Source
	Source  string
	// Burnt reports whether a key is known to be in wrong hands, as (*revocation.Set).Burnt: it is neither used nor published any
	// more, and its successor signs at once. Required.
	Burnt func(kid string, now time.Time) bool
	Now   func() time.Time // required
	Log   *slog.Logger     // of Run; nil for none
}

// Ring signs with the active key and publishes what verifiers need. It is safe for many goroutines, and it is a
// delegation.KeySource.
type Ring struct {
	cfg   Config
	log   *slog.Logger
	state atomic.Pointer[state]
	turn  sync.Mutex // one writer; signers never wait for it
}

// state is the ring as last read from the store. It never changes.
type state struct {
	records []Record // in signing order
	held    []held   // beside records
	set     jose.KeySet
	jwks    []byte
	read    time.Time // just before the store was asked
}

// Open reads the keys, and makes the first when there is none.
func Open(ctx context.Context, cfg Config) (*Ring, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("keys: no store")
	case cfg.Key.IsZero():
		return nil, errors.New("keys: no key-encryption key")
	case cfg.Source != "" && cfg.Sources[cfg.Source] == nil:
		return nil, fmt.Errorf("keys: no source %q", cfg.Source)
	case cfg.Burnt == nil:
		return nil, errors.New("keys: nobody says which keys are burnt")
	case cfg.Now == nil:
		return nil, errors.New("keys: no clock")
	}
	if err := cfg.Policy.check(); err != nil {
		return nil, err
	}
	r := &Ring{cfg: cfg, log: cfg.Log}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if err := r.advance(ctx, planned); err != nil {
		return nil, err
	}
	return r, nil
}

// Sign signs what was approved, under the typ of its kind (JW4): at+jwt (RFC 9068 §2.1), or what the delegation package made of
// that. It takes nothing else. A context that has ended signs nothing: nobody would get the token.
func (r *Ring) Sign(ctx context.Context, u delegation.Unsigned) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	payload, err := u.Payload()
	if err != nil {
		return "", err
	}
	now, s := r.cfg.Now(), r.state.Load()
	if now.Sub(s.read) > r.cfg.Policy.PublishAhead {
		return "", ErrStale
	}
	expiry := u.Claims().Expiry
	if expiry.After(now.Add(r.cfg.Policy.MaxTokenLife + time.Second)) { // the key would be gone before it
		return "", ErrLife
	}
	if expiry.IsZero() && u.Type() != delegation.TypeIntrospection { // an answer of this moment is the only thing without an end
		return "", ErrLife
	}
	i := signing(now, s.records, u.Algorithm(), r.cfg.Policy)
	if i < 0 {
		return "", fmt.Errorf("%w: %s", ErrAlgorithm, cmp.Or(u.Algorithm(), r.cfg.Policy.Algorithm))
	}
	if r.cfg.Burnt(s.held[i].kid, now) {
		return "", ErrBurnt
	}
	return s.held[i].signer.Sign(u.Type(), payload)
}

// JWKS is the published set (RFC 7517 §5): public members only.
func (r *Ring) JWKS() []byte { return slices.Clone(r.state.Load().jwks) }

// Algorithms are those with which a key signs now, that of who chooses none first.
func (r *Ring) Algorithms() []jose.Algorithm {
	now, s := r.cfg.Now(), r.state.Load()
	all := append([]jose.Algorithm{r.cfg.Policy.Algorithm}, slices.DeleteFunc(r.cfg.Policy.algorithms(), func(alg jose.Algorithm) bool {
		return alg == r.cfg.Policy.Algorithm
	})...)
	return slices.DeleteFunc(all, func(alg jose.Algorithm) bool { return signing(now, s.records, alg, r.cfg.Policy) < 0 })
}

// Key implements delegation.KeySource with the published set.
func (r *Ring) Key(_ context.Context, kid string, alg jose.Algorithm) (jose.Key, error) {
	now, s := r.cfg.Now(), r.state.Load()
	if r.cfg.Burnt(kid, now) {
		return jose.Key{}, delegation.ErrUnknownKey
	}
	if k, ok := s.set.Find(kid, alg); ok {
		return k, nil
	}
	if now.Sub(s.read) > r.cfg.Policy.PublishAhead { // it may be there, and this replica has not heard
		return jose.Key{}, fmt.Errorf("%w: %w", delegation.ErrUnavailable, ErrStale)
	}
	return jose.Key{}, delegation.ErrUnknownKey
}

// Keys lists the published keys, in the order in which they sign.
func (r *Ring) Keys() []Info {
	s := r.state.Load()
	infos := describe(r.cfg.Now(), s.records, r.cfg.Policy)
	for i := range infos {
		infos[i].Source = s.held[i].source
	}
	return infos
}

// Rotate brings the next rotation forward: a successor is published now, and signs after PublishAhead. When one waits already,
// nothing changes.
func (r *Ring) Rotate(ctx context.Context) error { return r.advance(ctx, planRotation) }

// Retire takes a key out of use in an orderly way: tokens that it signed stay good.
func (r *Ring) Retire(ctx context.Context, kid string) error {
	return r.advance(ctx, planRetirement(kid))
}

// Reload reads the store, and does what is due. When a key is burnt, that is its end.
func (r *Ring) Reload(ctx context.Context) error { return r.advance(ctx, planned) }

// Run keeps the ring fresh until ctx ends, and then returns nil. A store that is away is logged and asked again.
func (r *Ring) Run(ctx context.Context) error {
	const share = 10 // of the time that a successor waits: every replica has heard of it long before it signs
	ticker := time.NewTicker(max(r.cfg.Policy.PublishAhead/share, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := r.Reload(ctx); err != nil && ctx.Err() == nil {
			r.log.LogAttrs(ctx, slog.LevelError, "signing keys were not read", slog.Any("error", err))
		}
	}
}

// advance brings the store to where plan says, and this ring to the store. Of replicas that try at once one wins, and the
// others find its keys when they look again.
func (r *Ring) advance(ctx context.Context, plan planner) error { return r.advanceWith(ctx, plan) }

// advanceWith is advance for a plan that may name further keys.
func (r *Ring) advanceWith(ctx context.Context, plan planner, further ...store.SigningKey) error {
	r.turn.Lock()
	defer r.turn.Unlock()
	const attempts = 10
	for range attempts {
		now := r.cfg.Now().UTC()
		stored, generation, err := r.cfg.Store.SigningKeys(ctx)
		if err != nil {
			return fmt.Errorf("keys: read: %w", err)
		}
		current := records(stored)
		for i := range current {
			current[i].Burnt = r.cfg.Burnt(current[i].KID, now)
		}
		next, err := plan(now.Truncate(time.Microsecond), current, r.cfg.Policy)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(current, next, sameRecord) {
			if stored, err = r.realize(ctx, next, append(slices.Clone(stored), further...)); err != nil {
				return err
			}
			err = r.cfg.Store.PutSigningKeys(ctx, generation, stored)
			if errors.Is(err, store.ErrConflict) {
				continue
			}
			if err != nil { // it may have happened: the next reading will tell
				return fmt.Errorf("keys: write: %w", err)
			}
		}
		s, err := r.open(ctx, now, stored)
		if err != nil {
			return err
		}
		r.state.Store(s)
		return nil
	}
	return fmt.Errorf("keys: %w: other replicas kept changing the keys", store.ErrConflict)
}

func sameRecord(a, b Record) bool {
	return a.KID == b.KID && a.Algorithm == b.Algorithm && a.Published.Equal(b.Published) && a.Activate.Equal(b.Activate) &&
		a.Deactivate.Equal(b.Deactivate) && a.Remove.Equal(b.Remove)
}
