package executor

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
)

// running are the calls that have an intent on record and no outcome yet: what a revocation stops. There are no more of them
// than callers that wait.
type running struct {
	mu      sync.Mutex
	calls   map[*call]context.CancelCauseFunc
	stopped atomic.Uint64
}

// halt is why a call was stopped: what it ran under was revoked.
type halt struct{ token bool } // the token, not the connection

func (h *halt) Error() string {
	if h.token {
		return "the token was revoked while the call ran"
	}
	return "the connection was revoked while the call ran"
}

// start notes a call that is about to spend a credential. Its context ends when the call is stopped; done forgets it.
func (r *running) start(ctx context.Context, c *call) (stoppable context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = map[*call]context.CancelCauseFunc{}
	}
	r.calls[c] = cancel
	return ctx, func() {
		r.mu.Lock()
		delete(r.calls, c)
		r.mu.Unlock()
		cancel(nil)
	}
}

// stoppedBy is why a call's context was ended, nil when it was not stopped.
func stoppedBy(ctx context.Context) *halt {
	h, _ := errors.AsType[*halt](context.Cause(ctx))
	return h
}

// Recheck holds the calls that run against what is revoked now, and stops those that it refuses: at once, wherever they are.
// It answers how many. Whoever adds to Revocations calls it afterwards (revocation.FollowerConfig.OnRevoked).
//
// A set that is stale stops nothing: it is no news of a revocation, and no new call gets past it.
func (s *Service) Recheck() int {
	s.running.mu.Lock()
	defer s.running.mu.Unlock()
	n := 0
	for c, cancel := range s.running.calls {
		why, err := s.revoked(c)
		if !errors.Is(err, delegation.ErrRevoked) {
			continue
		}
		delete(s.running.calls, c)
		cancel(why)
		n++
		s.Log.Warn("a call was stopped", "action", c.actionID, "org", c.verified.OrgID(), "tool", c.tool.Name(), "why", why.Error())
	}
	s.running.stopped.Add(uint64(n))
	return n
}

// Stopped is how many calls were ever stopped.
func (s *Service) Stopped() uint64 { return s.running.stopped.Load() }

// revoked asks again what was asked when the call came in: the token, and the connection.
func (s *Service) revoked(c *call) (*halt, error) {
	claims, now := c.verified.Claims(), s.Now()
	if err := s.Revocations.Check(&claims, now); err != nil {
		return &halt{token: true}, err
	}
	return &halt{}, s.Revocations.CheckConnection(claims.OrgID, c.link.ID, c.link.Updated, now)
}

// alive is the last look before a credential is borrowed: between the first one and this, policy was asked and the intent was
// written. The call is noted as running already, so what is revoked after this look stops it.
func (s *Service) alive(c *call) *answer {
	why, err := s.revoked(c)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, delegation.ErrRevoked):
		a := halted(c, why, false)
		return &a
	}
	a := failed(toolError(connection.Failure{Kind: connection.Unavailable}, false), 0, "revocations cannot be checked; nothing was sent")
	return &a
}

// halted is the answer of a call that was stopped. A request that left may have taken effect, unless the tool only reads.
func halted(c *call, why *halt, left bool) answer {
	a := answer{outcome: audit.OutcomeFailed, reason: string(connection.Revoked), detail: "stopped: " + why.Error() + "; nothing was sent"}
	switch {
	case left && c.tool.Risk() != connection.Read:
		a.outcome, a.detail = audit.OutcomeUnknown, "stopped: "+why.Error()+"; it was sent, and no answer came"
		a.failure = &ToolError{Kind: connection.OutcomeUnknown, Message: "The call was stopped, because " + why.Error() +
			". It may have taken effect already."}
	case why.token:
		a.refused = &Error{Reason: InvalidToken, Description: why.Error() + ", so it was stopped"}
	default:
		a.failure = &ToolError{Kind: connection.Revoked, Message: "The call was stopped, because " + why.Error() +
			". The user must connect again."}
	}
	if left && a.outcome == audit.OutcomeFailed {
		a.detail = "stopped: " + why.Error() + "; it was sent, and only reads"
	}
	return a
}
