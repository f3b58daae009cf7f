package executor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/revocation"
)

// ErrNoPolicy says that there is no policy of the org to decide by.
var ErrNoPolicy = errors.New("executor: no policy for this org")

// Policies keeps each org's compiled policy, as the feed brings it. A bundle that does not compile leaves its org without a
// policy: the one before might allow what the new one forbids.
type Policies struct {
	log *slog.Logger

	mu   sync.RWMutex
	orgs map[delegation.OrgID]compiled
}

type compiled struct {
	document [sha256.Size]byte
	set      *policy.Set
	err      error
}

// NewPolicies makes an empty Policies.
func NewPolicies(log *slog.Logger) *Policies {
	return &Policies{log: log, orgs: map[delegation.OrgID]compiled{}}
}

// Set is the org's policy, or an error that wraps ErrNoPolicy.
func (p *Policies) Set(org delegation.OrgID) (*policy.Set, error) {
	p.mu.RLock()
	c, ok := p.orgs[org]
	p.mu.RUnlock()
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: %s", ErrNoPolicy, org)
	case c.err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrNoPolicy, org, c.err)
	}
	return c.set, nil
}

// Apply takes what the feed says of an org. It is FollowerConfig.OnPolicy.
func (p *Policies) Apply(m revocation.Policy) {
	if m.Deleted {
		p.mu.Lock()
		delete(p.orgs, m.Org)
		p.mu.Unlock()
		return
	}
	c := compiled{document: sha256.Sum256(m.Document)}
	p.mu.RLock()
	known, ok := p.orgs[m.Org]
	p.mu.RUnlock()
	if ok && known.document == c.document {
		return // a feed that was opened again sends everything again
	}
	c.set, c.err = compile(m)
	p.mu.Lock()
	p.orgs[m.Org] = c
	p.mu.Unlock()
	if c.err != nil {
		p.log.Error("policy does not compile; every call of this org is refused", "org", m.Org, "version", m.Version, "error", c.err)
		return
	}
	p.log.Info("policy in force", "org", m.Org, "version", m.Version)
}

func compile(m revocation.Policy) (*policy.Set, error) {
	var b policy.Bundle
	if err := jose.Decode(m.Document, &b); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if b.Org != m.Org || b.Version != m.Version {
		return nil, errors.New("bundle: it is another org's or another version's")
	}
	return policy.Compile(b)
}
