package main

import (
	"context"
	"time"

	"github.com/onbehalf/obo/exchange"
)

// limiter lets so many exchanges run at once over both doors and sends the rest away: a queue would only make every caller
// late (TE15).
type limiter struct {
	next *exchange.Service
	free chan struct{}
}

func newLimiter(next *exchange.Service, most int) limiter {
	return limiter{next: next, free: make(chan struct{}, most)}
}

// Exchange is the service's, or a refusal.
func (l limiter) Exchange(ctx context.Context, cred exchange.Credential, req exchange.Request) (exchange.Response, error) {
	select {
	case l.free <- struct{}{}:
		defer func() { <-l.free }()
		return l.next.Exchange(ctx, cred, req)
	default:
		return exchange.Response{}, busy()
	}
}

// Introspect is Exchange for introspection: it costs a look into memory, but a stranger's flood has the same end.
func (l limiter) Introspect(
	ctx context.Context, cred exchange.Credential, token string, signed bool,
) (exchange.Introspection, error) {
	select {
	case l.free <- struct{}{}:
		defer func() { <-l.free }()
		return l.next.Introspect(ctx, cred, token, signed)
	default:
		return exchange.Introspection{}, busy()
	}
}

// RevokeToken is the same for revocation.
func (l limiter) RevokeToken(ctx context.Context, cred exchange.Credential, token, hint string) error {
	select {
	case l.free <- struct{}{}:
		defer func() { <-l.free }()
		return l.next.RevokeToken(ctx, cred, token, hint)
	default:
		return busy()
	}
}

func busy() *exchange.Error {
	return &exchange.Error{
		Reason: exchange.RateLimited, RetryAfter: time.Second, Description: "the server has as much to do as it may",
	}
}
