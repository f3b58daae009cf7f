package exchange

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/onbehalf/obo/delegation"
)

// ActivityStore keeps when the agents of one org last acted.
type ActivityStore interface {
	// PutActivity MUST let the later of two times hold.
	PutActivity(ctx context.Context, last map[string]time.Time) error
}

// ActivityEvery is how often activity is written: the precision of what is known of it. A server that is killed forgets what it
// has not written; the audit trail does not.
const ActivityEvery = 10 * time.Second

// Activity remembers when agents last acted, and writes it now and then: one write for each org that was busy, whatever it did.
type Activity struct {
	org func(delegation.OrgID) ActivityStore
	log *slog.Logger

	mu   sync.Mutex
	last map[delegation.OrgID]map[string]time.Time
}

// NewActivity returns an Activity that writes while Run does.
func NewActivity(org func(delegation.OrgID) ActivityStore, log *slog.Logger) (*Activity, error) {
	if org == nil || log == nil {
		return nil, errors.New("exchange: an Activity needs stores and a log")
	}
	return &Activity{org: org, log: log, last: map[delegation.OrgID]map[string]time.Time{}}, nil
}

// Note says that an agent acts. On a nil Activity it does nothing.
func (a *Activity) Note(org delegation.OrgID, agent string, now time.Time) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	agents := a.last[org]
	if agents == nil {
		agents = map[string]time.Time{}
		a.last[org] = agents
	}
	if now.After(agents[agent]) {
		agents[agent] = now
	}
}

// Run writes every ActivityEvery until ctx ends, and what is left then.
func (a *Activity) Run(ctx context.Context) error {
	tick := time.NewTicker(ActivityEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			a.Flush(ctx)
			return ctx.Err()
		case <-tick.C:
			a.Flush(ctx)
		}
	}
}

// Flush writes what was noted. What cannot be written is noted again: it is of use later too.
func (a *Activity) Flush(ctx context.Context) {
	a.mu.Lock()
	last := a.last
	a.last = map[delegation.OrgID]map[string]time.Time{}
	a.mu.Unlock()
	for org, agents := range last {
		err := a.org(org).PutActivity(ctx, agents)
		if err == nil {
			continue
		}
		a.log.LogAttrs(ctx, slog.LevelWarn, "when agents last acted was not written; it is tried again",
			slog.String("org", string(org)), slog.Any("error", err))
		for agent, at := range agents {
			a.Note(org, agent, at)
		}
	}
}
