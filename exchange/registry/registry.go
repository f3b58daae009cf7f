// Package registry keeps what belongs to orgs: the document that `obo apply` sends, and the immutable snapshot that an
// exchange reads its facts from.
package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// ErrUnknownOrg says that no org of that id has a configuration.
var ErrUnknownOrg = errors.New("registry: unknown org")

// loadTimeout bounds one load, whoever waits for it.
const loadTimeout = 10 * time.Second

// OrgStore is one org's part of the store. Config MUST answer store.ErrNotFound when the org has no configuration.
type OrgStore interface {
	Config(ctx context.Context) (store.OrgConfig, error)
	ClientSecrets(ctx context.Context) ([]store.ClientSecret, error)
}

// Config is what a Registry needs. Nothing may be left out.
type Config struct {
	Orgs func(ctx context.Context) ([]delegation.OrgID, error) // every org that has a configuration
	Org  func(delegation.OrgID) OrgStore                       // store.PlatformOrg included
	// Fresh is not nil when this replica may have missed changes (revocation.Set.Fresh); then nothing is served. It MUST
	// fail until changes are being delivered to Changed, so that nothing is loaded that could go stale unnoticed.
	Fresh func(now time.Time) error
	Now   func() time.Time
}

// Registry answers from memory, loads an org on first use, and forgets what the feed says has changed. Changes alone
// invalidate it, never a timeout. It holds nothing for orgs that do not exist, so that a stranger cannot fill it.
type Registry struct {
	cfg   Config
	loads singleflight.Group

	mu       sync.RWMutex
	listed   bool // orgs holds every org that exists
	orgs     map[delegation.OrgID]*slot
	platform uint64 // how often the operator's policies changed
}

type slot struct {
	org     *Org   // nil until loaded
	changes uint64 // how often it was invalidated
}

// Open makes a Registry. Nothing is read yet.
func Open(cfg Config) (*Registry, error) {
	if cfg.Orgs == nil || cfg.Org == nil || cfg.Fresh == nil || cfg.Now == nil {
		return nil, errors.New("registry: Config lacks Orgs, Org, Fresh or Now")
	}
	return &Registry{cfg: cfg, orgs: map[delegation.OrgID]*slot{}}, nil
}

// Org is an org's snapshot in force. The error wraps ErrUnknownOrg, or it is not known now what is in force.
func (r *Registry) Org(ctx context.Context, id delegation.OrgID) (*Org, error) {
	if err := r.cfg.Fresh(r.cfg.Now()); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r.mu.RLock()
	s, listed := r.orgs[id], r.listed
	var org *Org
	if s != nil {
		org = s.org
	}
	r.mu.RUnlock()
	switch {
	case org != nil:
		return org, nil
	case s == nil && listed:
		return nil, ErrUnknownOrg
	case !listed:
		if err := r.once(ctx, "", r.list); err != nil {
			return nil, err
		}
		return r.Org(ctx, id)
	}
	if err := r.once(ctx, string(id), func(ctx context.Context) error { return r.load(ctx, id) }); err != nil {
		return nil, err
	}
	return r.Org(ctx, id)
}

// once runs f for all who wait for the same key, on a context of its own: the first caller's going away must not fail the
// others.
func (r *Registry) once(ctx context.Context, key string, f func(context.Context) error) error {
	done := r.loads.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		return nil, f(ctx)
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case result := <-done:
		return result.Err
	}
}

func (r *Registry) list(ctx context.Context) error {
	r.mu.RLock()
	listed := r.listed
	r.mu.RUnlock()
	if listed { // by the flight before this one
		return nil
	}
	ids, err := r.cfg.Orgs(ctx)
	if err != nil {
		return fmt.Errorf("registry: orgs: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if id == store.PlatformOrg {
			continue
		}
		if r.orgs[id] == nil {
			r.orgs[id] = &slot{}
		}
	}
	r.listed = true
	return nil
}

// load reads an org until nothing changed while it was being read.
func (r *Registry) load(ctx context.Context, id delegation.OrgID) error {
	for ctx.Err() == nil {
		changes, platform, loaded, ok := r.counts(id)
		switch {
		case !ok:
			return ErrUnknownOrg
		case loaded: // by the flight before this one
			return nil
		}
		org, err := r.read(ctx, id)
		if err != nil && !errors.Is(err, ErrUnknownOrg) {
			return err
		}
		r.mu.Lock()
		s := r.orgs[id]
		settled := s != nil && s.changes == changes && r.platform == platform
		switch {
		case settled && err != nil:
			delete(r.orgs, id)
		case settled:
			s.org = org
		}
		r.mu.Unlock()
		if settled {
			return err
		}
	}
	return fmt.Errorf("registry: org %s: %w", id, ctx.Err())
}

func (r *Registry) counts(id delegation.OrgID) (changes, platform uint64, loaded, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := r.orgs[id]
	if s == nil {
		return 0, 0, false, false
	}
	return s.changes, r.platform, s.org != nil, true
}

func (r *Registry) read(ctx context.Context, id delegation.OrgID) (*Org, error) {
	own := r.cfg.Org(id)
	config, err := own.Config(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrUnknownOrg
	}
	if err != nil {
		return nil, fmt.Errorf("registry: configuration of org %s: %w", id, err)
	}
	secrets, err := own.ClientSecrets(ctx)
	if err != nil {
		return nil, fmt.Errorf("registry: client secrets of org %s: %w", id, err)
	}
	platform, err := r.cfg.Org(store.PlatformOrg).Config(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("registry: platform policies: %w", err)
	}
	return Compile(config, platform, secrets)
}

// Known is how many orgs it holds in memory, loaded or not.
func (r *Registry) Known() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.orgs)
}

// Changed takes a change of the feed. It is what revocation.HubConfig.OnChange calls.
func (r *Registry) Changed(c store.Change) {
	if c.Kind == store.ChangeConfig {
		r.Invalidate(c.Org)
	}
}

// Invalidate forgets an org's snapshot, or all of them for store.PlatformOrg.
func (r *Registry) Invalidate(id delegation.OrgID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id == store.PlatformOrg {
		r.platform++
		for _, s := range r.orgs {
			s.org = nil
		}
		return
	}
	s := r.orgs[id]
	if s == nil {
		s = &slot{}
		r.orgs[id] = s
	}
	s.org = nil
	s.changes++
}

// Bundle is an org's policy bundle as JSON (policy.Bundle), for the feed. Its version is that of the configuration and that
// of the platform policies: "7.3".
func (r *Registry) Bundle(ctx context.Context, id delegation.OrgID) (version string, document []byte, err error) {
	org, err := r.Org(ctx, id)
	if err != nil {
		return "", nil, err
	}
	document, err = jose.Encode(org.bundle)
	return org.bundle.Version, document, err
}
