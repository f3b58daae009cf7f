// Package registry keeps what belongs to orgs: the document that `obo apply` sends, and the immutable snapshot that an
// exchange reads its facts from.
package registry

import (
	"context"
	"errors"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

// ErrUnknownOrg: no such org has a configuration.
var ErrUnknownOrg = errors.New("registry: unknown org")

// OrgStore is one org's part of the store. Config MUST answer store.ErrNotFound when the org has no configuration.
type OrgStore interface {
	Config(ctx context.Context) (store.OrgConfig, error)
	ClientSecrets(ctx context.Context) ([]store.ClientSecret, error)
}

// Config is what a Registry needs.
type Config struct {
	Orgs  func(ctx context.Context) ([]delegation.OrgID, error) // every org that has a configuration
	Org   func(delegation.OrgID) OrgStore
	Fresh func(now time.Time) error // not nil when this replica may have missed changes: then nothing is served
	Now   func() time.Time
}

// Registry answers from memory and reloads what the feed says has changed.
type Registry struct{ cfg Config }

// Open makes a Registry; nothing is loaded yet but the list of orgs.
func Open(ctx context.Context, cfg Config) (*Registry, error) { return &Registry{cfg: cfg}, nil }

// Org is an org's snapshot in force.
func (r *Registry) Org(ctx context.Context, id delegation.OrgID) (*Org, error) {
	return nil, ErrUnknownOrg
}

// Invalidate forgets an org's snapshot, or all of them for store.PlatformOrg.
func (r *Registry) Invalidate(id delegation.OrgID) {}

// Follow invalidates what changes until ctx ends or the subscription is cut off.
func (r *Registry) Follow(ctx context.Context, sub *revocation.Subscription) error { return nil }

// Bundle is an org's policy bundle as JSON, for the feed.
func (r *Registry) Bundle(ctx context.Context, id delegation.OrgID) (version string, document []byte, err error) {
	return "", nil, ErrUnknownOrg
}

// Org is one version of an org's configuration, compiled. It never changes.
type Org struct {
	id     delegation.OrgID
	policy *policy.Set
}

// Client is a registered agent as a client and an actor. It never changes.
type Client struct {
	Agent    Agent
	Org      delegation.OrgID
	ID       string            // agent:acme/researcher
	ClientID string            // acme.researcher
	Scopes   delegation.Scopes // of its registration
	Keys     jose.KeySet
	Secrets  [][32]byte // SHA-256 of its live client secrets, at most two
}
