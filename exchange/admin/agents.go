package admin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/store"
)

// ActivityStore knows when the agents of one org last acted.
type ActivityStore interface {
	Activity(ctx context.Context) ([]store.Activity, error)
}

// Agent is an agent as an administrator asks about it: who it is, who answers for it, what it can do and why, and whether it
// is still of use.
type Agent struct {
	*registry.Client
	Off         string    // why it may do nothing now: "disabled", "expired", or nothing
	Credentials []string  // the ways in which it can authenticate
	Rights      []Right   // what a first hop of it can have
	Last        time.Time // when it last acted, to exchange.ActivityEvery; zero: never, as far as is known
}

// Right is a scope of an agent's registration.
type Right struct {
	Scope    string
	Policies []string // that can permit it, their conditions aside; none: it is registered for what no policy lets it have
}

// ListAgents lists at most limit agents of an org by name, after a name; more says whether there are others behind them.
func (s *Service) ListAgents(ctx context.Context, id delegation.OrgID, after string, limit int) (agents []Agent, more bool, err error) {
	if err := orgID(id); err != nil {
		return nil, false, err
	}
	org, err := s.org(ctx, id)
	if err != nil {
		return nil, false, err
	}
	activity, err := s.cfg.Activity(id).Activity(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("admin: activity of org %s: %w", id, err)
	}
	last := map[string]time.Time{}
	for _, a := range activity {
		last[a.Agent] = a.Last
	}
	now := s.cfg.Now()
	var names []string
	for _, a := range org.Document().Agents {
		if a.Name > after {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	more = len(names) > limit
	for _, name := range names[:min(limit, len(names))] {
		client, ok := org.Client(name)
		if !ok {
			continue
		}
		a := Agent{Client: client, Off: client.Off(now), Credentials: client.Credentials(), Last: last[name]}
		for _, scope := range client.Scopes.List() {
			a.Rights = append(a.Rights, Right{Scope: scope, Policies: org.Policy().Permits(client.ID, scope)})
		}
		agents = append(agents, a)
	}
	return agents, more, nil
}
