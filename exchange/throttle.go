package exchange

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
)

// How many wrong secrets are looked at (TE15). A secret of ours cannot be guessed at any rate; one that an operator brought
// from elsewhere perhaps can.
const (
	guessBurst    = 10               // of one address at one client
	guessEvery    = 6 * time.Second  // then one in so long
	addressBurst  = 300              // of one address at all clients
	addressEvery  = time.Second / 5  //
	clientBurst   = 100              // of all addresses at one client; beyond it an address has one guess instead of ten
	clientEvery   = time.Second      //
	maxGuessDebt  = 100              // guesses; those that came at once count too, up to here
	maxGuessers   = 1 << 16          // addresses, and pairs of address and client, that are remembered
	ipv6Prefix    = 64               // bits of an address that one guesser has at least
	shortestRetry = time.Millisecond // of what a caller is told
)

// throttle bounds the guessing of secrets, and how much is asked for.
//
// Guesses are counted by client and address, so that nobody can lock a client out from elsewhere; keys and certificates
// cannot be guessed, so only who comes with a secret is ever turned away. Everything is bounded: strangers are remembered
// in caches, and rates only of who is registered.
type throttle struct {
	guesses   *otter.Cache[guesser, *rate.Limiter]
	addresses *otter.Cache[netip.Addr, *rate.Limiter]
	clients   *otter.Cache[string, *rate.Limiter]

	mu    sync.Mutex
	asked map[string]*rate.Limiter // by org id and by client id, which has a dot
}

// guesser is who guesses, and at whose secret. The client need not exist, or its absence could be told from the answer.
type guesser struct {
	client string
	from   netip.Addr
}

func newThrottle() (*throttle, error) {
	t := &throttle{asked: map[string]*rate.Limiter{}}
	var errs [3]error
	t.guesses, errs[0] = otter.New(&otter.Options[guesser, *rate.Limiter]{MaximumSize: maxGuessers})
	t.addresses, errs[1] = otter.New(&otter.Options[netip.Addr, *rate.Limiter]{MaximumSize: maxGuessers})
	t.clients, errs[2] = otter.New(&otter.Options[string, *rate.Limiter]{MaximumSize: maxGuessers})
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("exchange: %w", err)
		}
	}
	return t, nil
}

// newGuesser is false for what is no client id at all, which nothing can be guessed of.
func newGuesser(cred Credential) (guesser, bool) {
	_, _, err := delegation.ParseClientID(cred.ClientID)
	from := cred.RemoteIP.Unmap()
	if from.Is6() {
		if prefix, err := from.Prefix(ipv6Prefix); err == nil {
			from = prefix.Addr()
		}
	}
	return guesser{cred.ClientID, from}, err == nil
}

// mayGuess is asked before a secret is looked at. A right one is turned away too: else the answer would tell.
func (t *throttle) mayGuess(g guesser, now time.Time) error {
	wait := time.Duration(0)
	if l, ok := t.guesses.GetIfPresent(g); ok {
		wait = untilNext(l, now)
	}
	if l, ok := t.addresses.GetIfPresent(g.from); ok {
		wait = max(wait, untilNext(l, now))
	}
	if wait == 0 {
		return nil
	}
	return limited(wait, "too many wrong client secrets from this address: check the secret, and try again later")
}

// guessed notes a wrong secret.
func (t *throttle) guessed(g guesser, now time.Time) {
	cost := 1
	if !remember(t.clients, g.client, clientEvery, clientBurst).AllowN(now, 1) {
		cost = guessBurst
	}
	for _, l := range []*rate.Limiter{
		remember(t.guesses, g, guessEvery, guessBurst), remember(t.addresses, g.from, addressEvery, addressBurst),
	} {
		if l.TokensAt(now) > -maxGuessDebt {
			l.ReserveN(now, cost)
		}
	}
}

func remember[K comparable](c *otter.Cache[K, *rate.Limiter], key K, every time.Duration, burst int) *rate.Limiter {
	if l, ok := c.GetIfPresent(key); ok {
		return l
	}
	l, _ := c.SetIfAbsent(key, rate.NewLimiter(rate.Every(every), burst))
	return l
}

// untilNext is how long it takes until an event may happen, 0 when it may now.
func untilNext(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return max(shortestRetry, time.Duration(missing/float64(l.Limit())*float64(time.Second)))
}

// ask takes one request of a client out of what it and its org may ask for.
func (t *throttle) ask(operator Rates, org *registry.Org, client *registry.Client, now time.Time) error {
	// The client's first: what an agent that has lost its mind is refused does not count against its org.
	if err := t.take(client.ClientID, narrower(operator.Client, org.AgentRate()), now); err != nil {
		return err
	}
	return t.take(string(org.ID()), narrower(operator.Org, org.Rate()), now)
}

// narrower is the lower of two limits, of which 0 is none.
func narrower(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

func (t *throttle) take(key string, perSecond int, now time.Time) error {
	if perSecond == 0 {
		return nil
	}
	t.mu.Lock()
	l := t.asked[key]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(perSecond), 2*perSecond)
		t.asked[key] = l
	}
	t.mu.Unlock()
	if l.Limit() != rate.Limit(perSecond) { // the configuration changed
		l.SetLimitAt(now, rate.Limit(perSecond))
		l.SetBurstAt(now, 2*perSecond)
	}
	if l.AllowN(now, 1) {
		return nil
	}
	return limited(max(shortestRetry, untilNext(l, now)),
		"%s asks for more than %d tokens a second: ask for fewer, or use them longer", key, perSecond)
}

func limited(wait time.Duration, format string, args ...any) *Error {
	e := refuse(RateLimited, "", nil, format, args...)
	e.RetryAfter = wait
	return e
}
