package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
)

// limiter lets so many exchanges run at once over both doors and sends the rest away: a queue would only make every caller
// late (TE15).
type limiter struct {
	next    *exchange.Service
	most    atomic.Int64
	running atomic.Int64
}

func newLimiter(next *exchange.Service) *limiter { return &limiter{next: next} }

// enter takes a place, which leave gives back, unless all are taken.
func (l *limiter) enter() bool {
	if l.running.Add(1) <= l.most.Load() {
		return true
	}
	l.leave()
	return false
}

func (l *limiter) leave() { l.running.Add(-1) }

// Exchange is the service's, or a refusal.
func (l *limiter) Exchange(ctx context.Context, cred exchange.Credential, req exchange.Request) (exchange.Response, error) {
	if !l.enter() {
		return exchange.Response{}, busy()
	}
	defer l.leave()
	return l.next.Exchange(ctx, cred, req)
}

// Introspect is Exchange for introspection: it costs a look into memory, but a stranger's flood has the same end.
func (l *limiter) Introspect(
	ctx context.Context, cred exchange.Credential, token string, signed bool,
) (exchange.Introspection, error) {
	if !l.enter() {
		return exchange.Introspection{}, busy()
	}
	defer l.leave()
	return l.next.Introspect(ctx, cred, token, signed)
}

// RevokeToken is the same for revocation.
func (l *limiter) RevokeToken(ctx context.Context, cred exchange.Credential, token, hint string) error {
	if !l.enter() {
		return busy()
	}
	defer l.leave()
	return l.next.RevokeToken(ctx, cred, token, hint)
}

// TakeSignal is the same for security events. A transmitter sends again what was not taken.
func (l *limiter) TakeSignal(ctx context.Context, org delegation.OrgID, stream, token string) error {
	if !l.enter() {
		return busy()
	}
	defer l.leave()
	return l.next.TakeSignal(ctx, org, stream, token)
}

// Identify is the same for executors that ask who signed in: an issuer that hangs holds the place.
func (l *limiter) Identify(ctx context.Context, org delegation.OrgID, token, clientID, nonce string) (exchange.Identity, error) {
	if !l.enter() {
		return exchange.Identity{}, busy()
	}
	defer l.leave()
	return l.next.Identify(ctx, org, token, clientID, nonce)
}

func busy() *exchange.Error {
	return &exchange.Error{
		Reason: exchange.RateLimited, RetryAfter: time.Second, Description: "the server has as much to do as it may",
	}
}
