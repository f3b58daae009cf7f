package executor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// usersTurn are the failures that only the user can help with.
var usersTurn = []connection.Kind{
	connection.Revoked, connection.Expired, connection.StepUp, connection.NeedsConsent, connection.Uncertain, connection.NoConnection,
}

// unconnected is what a caller hears who has no connection to spend. It has a link when policy would allow the call with an account of the
// user's: an agent cannot make its user connect one for what it may not do.
func (s *Service) unconnected(ctx context.Context, c *call, err error) error {
	if e, ok := errors.AsType[*ToolError](err); !ok || !slices.Contains(usersTurn, e.Kind) {
		return err
	}
	own, shared := *c, *c
	shared.link = store.Connection{ID: cmp.Or(c.link.ID, "-"), Provider: c.tool.Provider().Name()} // "-" is nobody's id
	own.link = shared.link
	own.link.Subject = c.verified.Subject()
	refused := s.decide(&own)
	switch {
	case refused == nil:
		return s.offered(ctx, c, err)
	case s.decide(&shared) == nil: // an administrator connects it
		return err
	}
	c.decision = own.decision
	return refused
}

// offered adds to an error the link at which the user connects the account, when that would help, and returns the error. The link is
// good for nobody but that user. That there is none now is no other error.
func (s *Service) offered(ctx context.Context, c *call, err error) error {
	e, ok := errors.AsType[*ToolError](err)
	if !ok || s.Reconnect == nil || !slices.Contains(usersTurn, e.Kind) || connection.Pattern(c.link.Pattern).Shared() && c.link.ID != "" {
		return err
	}
	url, linkErr := s.Reconnect.Reconnect(ctx, c.verified.OrgID(), connection.Wish{
		Subject: c.verified.Subject(), Agent: c.verified.Actor(), Provider: c.tool.Provider().Name(), Connection: c.link.ID,
		Scopes: c.tool.Scopes(),
	})
	if linkErr != nil {
		s.Log.InfoContext(ctx, "no link can be offered", "action", c.actionID, "provider", c.tool.Provider().Name(), "error", linkErr)
		return err
	}
	e.ReconnectURL = url
	return err
}

// shares keep one user from spending what an org's shared key may do at a provider.
type shares struct {
	mu    sync.Mutex
	users map[share]*rate.Limiter
}

type share struct {
	org                 delegation.OrgID
	connection, subject string
}

const maxShares = 100_000

// take takes one call from the user's share, or says how long to wait. Only developer secrets are shared so.
func (s *shares) take(c *call, now time.Time) time.Duration {
	per := c.tool.Provider().PerUser()
	if connection.Pattern(c.link.Pattern) != connection.DeveloperSecret || per.Calls == 0 {
		return 0
	}
	key := share{c.verified.OrgID(), c.link.ID, c.verified.Subject()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == nil {
		s.users = map[share]*rate.Limiter{}
	}
	limit, known := s.users[key]
	if !known {
		if len(s.users) >= maxShares {
			s.forget(now)
		}
		limit = rate.NewLimiter(rate.Limit(float64(per.Calls)/per.Per.Seconds()), per.Calls)
		s.users[key] = limit
	}
	r := limit.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// forget drops the shares that are full again, and when there are none, all: a share that begins anew is full.
func (s *shares) forget(now time.Time) {
	for key, limit := range s.users {
		if limit.TokensAt(now) >= float64(limit.Burst()) {
			delete(s.users, key)
		}
	}
	if len(s.users) >= maxShares {
		clear(s.users)
	}
}
