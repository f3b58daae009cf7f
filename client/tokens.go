package client

import (
	"container/list"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Token is the token for a request: a kept one while it is good for a while, else a new one. Callers that ask for the same
// request at the same time share one exchange; who stops waiting does not stop it for the others.
func (c *Client) Token(ctx context.Context, r Request) (Token, error) {
	k, err := r.key()
	if err != nil {
		return Token{}, err
	}
	return c.tokens.get(ctx, k, r)
}

// tokens keeps tokens by request, the most recently used first.
type tokens struct {
	max      int
	now      func() time.Time
	exchange func(context.Context, Request) (Token, error)

	mu      sync.Mutex
	entries map[key]*list.Element // of *entry
	order   *list.List
}

// entry is what is known of one request. tokens.mu guards it.
type entry struct {
	key         key
	token       Token
	renew, stop time.Time // from when another is asked for, and from when this one is no longer handed out
	flight      *flight   // the exchange that is under way; nil: none
	failure     error     // of the last exchange, while the server is left alone
	hold        time.Time // until when it is
}

// flight is one exchange that many may wait for.
type flight struct {
	cancel  context.CancelFunc
	waiters int  // guarded by tokens.mu
	ahead   bool // begun ahead of need: it goes on when nobody waits

	done  chan struct{} // closed when token and err are set
	token Token
	err   error
}

// flightTimeout bounds an exchange, whose callers may have no deadline.
const flightTimeout = 30 * time.Second

func newTokens(most int, now func() time.Time, exchange func(context.Context, Request) (Token, error)) *tokens {
	return &tokens{max: most, now: now, exchange: exchange, entries: map[key]*list.Element{}, order: list.New()}
}

func (t *tokens) get(ctx context.Context, k key, r Request) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	t.mu.Lock()
	e, now := t.entry(k), t.now()
	good := now.Before(e.stop)
	if good && now.Before(e.renew) {
		defer t.mu.Unlock()
		return e.token, nil
	}
	if e.flight == nil && !now.Before(e.hold) {
		t.start(ctx, e, r, good)
	}
	if good { // the next is on its way, and this one is not yet about to expire
		defer t.mu.Unlock()
		return e.token, nil
	}
	f := e.flight
	if f == nil {
		defer t.mu.Unlock()
		return Token{}, e.failure
	}
	f.waiters++
	t.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		t.leave(e, f)
		return Token{}, ctx.Err()
	}
}

// entry finds or makes the entry of a request, and drops the one longest unused when there are too many.
func (t *tokens) entry(k key) *entry {
	if at, ok := t.entries[k]; ok {
		t.order.MoveToFront(at)
		return at.Value.(*entry)
	}
	for t.order.Len() >= t.max {
		t.drop(t.order.Back().Value.(*entry))
	}
	e := &entry{key: k}
	t.entries[k] = t.order.PushFront(e)
	return e
}

// drop forgets an entry. An exchange that is under way for it goes on for those who wait.
func (t *tokens) drop(e *entry) {
	if at, ok := t.entries[e.key]; ok && at.Value.(*entry) == e {
		t.order.Remove(at)
		delete(t.entries, e.key)
	}
}

// start begins an exchange, which keeps the values of ctx but not its end: others may come to wait for it.
func (t *tokens) start(ctx context.Context, e *entry, r Request, ahead bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
	f := &flight{cancel: cancel, ahead: ahead, done: make(chan struct{})}
	e.flight = f
	go func() {
		defer cancel()
		token, err := t.exchange(ctx, r)
		t.mu.Lock()
		defer t.mu.Unlock()
		f.token, f.err = token, err
		if e.flight == f {
			e.flight = nil
			t.landed(e, token, err)
		}
		close(f.done)
	}()
}

// landed keeps what came of an exchange.
func (t *tokens) landed(e *entry, token Token, err error) {
	now := t.now()
	if err == nil {
		e.token, e.failure, e.hold = token, nil, time.Time{}
		e.renew, e.stop = plan(token)
		return
	}
	var refused *Error
	wait := time.Duration(0)
	if errors.As(err, &refused) {
		wait = refused.RetryAfter
	}
	if left := e.stop.Sub(now); left > 0 {
		wait = max(wait, min(left/4, flightTimeout), time.Second) // there is time: the server is not asked by each caller
	}
	if wait == 0 {
		t.drop(e)
		return
	}
	e.failure, e.hold = err, now.Add(wait)
}

// plan says from when a token is renewed and from when it is no longer handed out. Renewal begins after 70 to 85 percent of its
// life, at a time of its own, so that a fleet that started at once does not renew at once. The last tenth, or 30 seconds, is
// for the request that carries it to arrive.
func plan(t Token) (renew, stop time.Time) {
	life := t.Expiry.Sub(t.asked)
	stop = t.Expiry.Add(-min(life/10, 30*time.Second))
	return t.asked.Add(time.Duration(float64(life) * (0.70 + 0.15*rand.Float64()))), stop
}

// leave gives up waiting. An exchange that nobody waits for is ended, unless it was begun ahead of need.
func (t *tokens) leave(e *entry, f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.waiters--; f.waiters > 0 || f.ahead {
		return
	}
	f.cancel()
	if e.flight == f { // who comes now must not wait for what was ended
		e.flight = nil
		if e.token.AccessToken == "" {
			t.drop(e)
		}
	}
}

// forget drops a token that a server refused, so that the next request gets another.
func (t *tokens) forget(k key, token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.entries[k]; ok {
		if e := at.Value.(*entry); e.token.AccessToken == token {
			e.renew, e.stop = time.Time{}, time.Time{}
		}
	}
}
