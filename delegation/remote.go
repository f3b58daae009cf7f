package delegation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/onbehalf/obo/jose"
)

// The defaults and bounds of RemoteKeys.
const (
	defaultMaxAge     = 10 * time.Minute
	defaultMaxStale   = 24 * time.Hour
	defaultMinRefetch = 10 * time.Second
	fetchTimeout      = 5 * time.Second
)

// MaxKeysStale is the longest MaxStale: no verifier holds a key longer than this after the issuer has withdrawn it. What the
// issuer revokes a key with outlasts it.
const MaxKeysStale = 7 * 24 * time.Hour

// RemoteKeysConfig says where the issuer publishes its keys.
type RemoteKeysConfig struct {
	URL    string           // the JWK set; https, or http on loopback
	Client *http.Client     // a client of its own when nil; redirects are never followed
	Now    func() time.Time // time.Now when nil

	MaxAge     time.Duration // when a set is fetched anew in the background: 10 minutes when zero
	MaxStale   time.Duration // how long a set serves while the issuer is away: 24 hours when zero, at most MaxKeysStale
	MinRefetch time.Duration // least time between two fetches that a token or a failure causes: 10 seconds when zero
}

// RemoteKeys is a KeySource that keeps the issuer's JWK set in memory. It fetches when it is first asked, when a kid is
// unknown, and in the background when the set is old; never twice at a time, and never more often than MinRefetch. While
// the issuer is away the old set serves until MaxStale. No goroutine outlives a fetch, and a fetch takes 5 seconds at
// most.
type RemoteKeys struct {
	config  RemoteKeysConfig
	client  *http.Client
	flights singleflight.Group

	mu      sync.Mutex
	set     jose.KeySet
	fetched time.Time // of set; zero before the first
	tried   time.Time // the last fetch, good or bad
	failure error     // of the last fetch
}

// NewRemoteKeys checks the configuration. It fetches nothing yet.
func NewRemoteKeys(config RemoteKeysConfig) (*RemoteKeys, error) {
	if err := checkKeysURL(config.URL); err != nil {
		return nil, err
	}
	if config.MaxAge < 0 || config.MaxStale < 0 || config.MinRefetch < 0 {
		return nil, errors.New("delegation: RemoteKeys: negative duration")
	}
	if config.MaxStale > MaxKeysStale {
		return nil, fmt.Errorf("delegation: RemoteKeys: MaxStale is at most %s", MaxKeysStale)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.MaxAge == 0 {
		config.MaxAge = defaultMaxAge
	}
	if config.MaxStale == 0 {
		config.MaxStale = defaultMaxStale
	}
	if config.MinRefetch == 0 {
		config.MinRefetch = defaultMinRefetch
	}
	client := http.Client{}
	if config.Client != nil {
		client = *config.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // JW13
	return &RemoteKeys{config: config, client: &client}, nil
}

// checkKeysURL allows plain http on loopback alone: who can change the answer can sign tokens (TX20).
func checkKeysURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil {
		return errors.New("delegation: RemoteKeys: want an absolute URL without user information")
	}
	if u.Scheme == "https" {
		return nil
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("delegation: RemoteKeys: %s: want https, or http on loopback", u.Redacted())
}

// Key implements KeySource.
func (r *RemoteKeys) Key(ctx context.Context, kid string, alg jose.Algorithm) (jose.Key, error) {
	now := r.config.Now()
	key, found, age, due := r.look(kid, alg, now)
	switch {
	case found && age <= r.config.MaxAge:
		return key, nil
	case found && age <= r.config.MaxStale:
		if due {
			r.fetch() // goes on by itself
		}
		return key, nil
	}
	if due {
		select {
		case <-r.fetch():
		case <-ctx.Done():
			return jose.Key{}, fmt.Errorf("%w: issuer's keys: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
	return r.lookAgain(kid, alg, now)
}

// look finds a key in the set that is there, the age of that set, and whether a fetch is due.
func (r *RemoteKeys) look(kid string, alg jose.Algorithm, now time.Time) (jose.Key, bool, time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, found := r.set.Find(kid, alg)
	return key, found, now.Sub(r.fetched), r.dueLocked(now)
}

func (r *RemoteKeys) due(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dueLocked(now)
}

func (r *RemoteKeys) dueLocked(now time.Time) bool {
	return r.tried.IsZero() || now.Sub(r.tried) >= r.config.MinRefetch
}

// lookAgain is the last word: a key is unknown only to a set that was fetched; else it cannot be told.
func (r *RemoteKeys) lookAgain(kid string, alg jose.Algorithm, now time.Time) (jose.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fetched.IsZero() || now.Sub(r.fetched) > r.config.MaxStale {
		return jose.Key{}, fmt.Errorf("%w: issuer's keys: %w", ErrUnavailable, errOr(r.failure, errNotFetched))
	}
	if key, ok := r.set.Find(kid, alg); ok {
		return key, nil
	}
	if r.failure != nil {
		return jose.Key{}, fmt.Errorf("%w: issuer's keys: %w", ErrUnavailable, r.failure)
	}
	return jose.Key{}, ErrUnknownKey
}

var errNotFetched = errors.New("not fetched yet")

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// fetch joins or starts the one fetch under way. It belongs to no caller: whoever gives up waiting does not end it for
// the others.
func (r *RemoteKeys) fetch() <-chan singleflight.Result {
	return r.flights.DoChan("", func() (any, error) {
		if !r.due(r.config.Now()) { // another flight landed while this one was being asked for
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		set, err := r.get(ctx)
		now := r.config.Now()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tried, r.failure = now, err
		if err == nil {
			r.set, r.fetched = set, now
		}
		return nil, err
	})
}

func (r *RemoteKeys) get(ctx context.Context) (jose.KeySet, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.config.URL, nil)
	if err != nil {
		return jose.KeySet{}, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return jose.KeySet{}, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return jose.KeySet{}, fmt.Errorf("%s answered %d", r.config.URL, response.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, jose.MaxKeySetSize+1))
	if err != nil {
		return jose.KeySet{}, err
	}
	set, err := jose.ParseKeySet(data)
	if err != nil {
		return jose.KeySet{}, err
	}
	if len(set.Keys()) == 0 {
		return jose.KeySet{}, fmt.Errorf("%s has no key that we can use", r.config.URL)
	}
	return set, nil
}
