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
		return exchange.Response{}, &exchange.Error{Reason: exchange.RateLimited, RetryAfter: time.Second,
			Description: "the server has as much to do as it may"}
	}
}
