// Package poller fetches the security events of streams that are polled (RFC 8936): what a transmitter does not push. It decides
// nothing. What the next request says is signals.Polled's to tell, and what a SET does is Taker's, which is that of the door for
// pushed ones.
//
// Of several replicas one polls a stream, and says so in the store every few seconds; when it dies, another takes over. That is
// for the transmitter's sake and not for safety: a SET works once whoever brings it, so two that poll at once do no harm. Nothing
// is lost with a replica, because a SET is acknowledged only after its effect is durable.
package poller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// Store is one org's part of the store. PutSignalPoll MUST answer store.ErrConflict while another replica polls the stream.
type Store interface {
	SignalCredentials(ctx context.Context) ([]store.SignalCredential, error)
	PutSignalPoll(ctx context.Context, p store.SignalPoll, now time.Time) error
}

// Orgs are the snapshots in force. Org MUST answer registry.ErrUnknownOrg for one that has no configuration.
type Orgs interface {
	Org(ctx context.Context, id delegation.OrgID) (*registry.Org, error)
}

// Taker takes a SET. When it answers nil, the effect MUST be durable. A refusal is a *signals.Refusal; after anything else the SET
// is to come again.
type Taker interface {
	TakeSignal(ctx context.Context, org delegation.OrgID, stream, token string) error
}

// Config is what a Poller needs. Nothing may be left out.
type Config struct {
	List  func(ctx context.Context) ([]delegation.OrgID, error) // every org that has a configuration
	Store func(delegation.OrgID) Store
	Orgs  Orgs
	Take  Taker
	Key   seal.Key // key-encryption key
	HTTP  *http.Client
	Now   func() time.Time
	Log   *slog.Logger
}

// Timeout is how long a transmitter may take for a reply, the waiting for events included. It is for Config.HTTP.
const Timeout = 2 * time.Minute

// How replicas share the streams.
const (
	holdFor   = 30 * time.Second // then another may take over
	holdEvery = 10 * time.Second // that the one that polls says so
	standby   = 5 * time.Second  // that another looks whether it still does
	lookAgain = 5 * time.Second  // after a look at the registrations that failed
)

// Poller polls the streams of all orgs.
type Poller struct {
	cfg     Config
	holder  string
	client  *http.Client
	running map[name]running // Run's alone

	mu      sync.Mutex
	changed map[delegation.OrgID]struct{} // to be looked at
	wake    chan struct{}
}

// name names a stream.
type name struct {
	org    delegation.OrgID
	stream string
}

// target is a stream as it is to be polled now.
type target struct {
	name
	endpoint string
	bearer   telemetry.Secret
}

type running struct {
	target
	stop func() // returns when it has
}

// New refuses a Config that lacks anything.
func New(cfg Config) (*Poller, error) {
	if cfg.List == nil || cfg.Store == nil || cfg.Orgs == nil || cfg.Take == nil || cfg.Key.IsZero() || cfg.HTTP == nil || cfg.Now == nil ||
		cfg.Log == nil {
		return nil, errors.New("poller: Config lacks List, Store, Orgs, Take, Key, HTTP, Now or Log")
	}
	client := *cfg.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the bearer is for one place
	return &Poller{
		cfg: cfg, holder: rand.Text(), client: &client, running: map[name]running{},
		changed: map[delegation.OrgID]struct{}{}, wake: make(chan struct{}, 1),
	}, nil
}

// Changed takes a change of the feed: what an org polls may be another. It does not wait.
func (p *Poller) Changed(c store.Change) {
	if c.Kind == store.ChangeConfig && c.Org != store.PlatformOrg {
		p.note(c.Org)
	}
}

func (p *Poller) note(org delegation.OrgID) {
	p.mu.Lock()
	p.changed[org] = struct{}{}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

func (p *Poller) noted() map[delegation.OrgID]struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.changed
	p.changed = map[delegation.OrgID]struct{}{}
	return out
}

// Run polls until ctx ends, and lets go of its streams then.
func (p *Poller) Run(ctx context.Context) error {
	defer func() {
		var all sync.WaitGroup
		for _, r := range p.running {
			all.Go(r.stop)
		}
		all.Wait()
	}()
	listed := false
	for {
		var failure error
		if !listed {
			listed, failure = p.list(ctx)
		}
		for org := range p.noted() {
			if err := p.look(ctx, org); err != nil {
				failure = err
				p.mu.Lock()
				p.changed[org] = struct{}{}
				p.mu.Unlock()
			}
		}
		var again <-chan time.Time
		if failure != nil && ctx.Err() == nil {
			p.cfg.Log.WarnContext(ctx, "the streams of security events to poll cannot be read; those that were known are polled", "error", failure)
			again = time.After(lookAgain)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.wake:
		case <-again:
		}
	}
}

func (p *Poller) list(ctx context.Context) (bool, error) {
	orgs, err := p.cfg.List(ctx)
	for _, org := range orgs {
		p.note(org)
	}
	return err == nil, err
}

// look starts and stops the polling of an org's streams by what is registered now.
func (p *Poller) look(ctx context.Context, org delegation.OrgID) error {
	targets, err := p.targets(ctx, org)
	if err != nil {
		return err
	}
	for n, r := range p.running {
		if t, ok := targets[n]; n.org == org && (!ok || t != r.target) {
			r.stop()
			delete(p.running, n)
		}
	}
	for n, t := range targets {
		if _, runs := p.running[n]; !runs {
			p.running[n] = p.start(ctx, t)
		}
	}
	return nil
}

// targets are the org's streams that have both an endpoint and a credential for that very endpoint: whoever may change the document
// must not send the credential elsewhere.
func (p *Poller) targets(ctx context.Context, org delegation.OrgID) (map[name]target, error) {
	credentials, err := p.cfg.Store(org).SignalCredentials(ctx)
	if err != nil || len(credentials) == 0 { // as of nearly all orgs, whose snapshots need not be loaded for this
		return nil, err
	}
	snapshot, err := p.cfg.Orgs.Org(ctx, org)
	if errors.Is(err, registry.ErrUnknownOrg) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("poller: org %s: %w", org, err)
	}
	out := map[name]target{}
	for _, c := range credentials {
		s, ok := snapshot.Stream(c.Stream)
		if !ok || s.PollEndpoint == "" || s.PollEndpoint != c.Endpoint {
			continue // `obo signals list` says so
		}
		bearer, err := p.cfg.Key.Open(c.Sealed, signals.CredentialBinding(org, c.Stream, c.Endpoint))
		if err != nil {
			p.cfg.Log.ErrorContext(ctx, "a stream of security events is not polled: its credential does not open with the key-encryption key; "+
				"put it again with `obo signals credential`", "org", string(org), "stream", c.Stream, "error", err)
			continue
		}
		n := name{org, c.Stream}
		out[n] = target{n, c.Endpoint, telemetry.Secret(bearer)}
	}
	return out, nil
}

func (p *Poller) start(ctx context.Context, t target) running {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.stream(ctx, t)
	}()
	return running{t, func() {
		cancel()
		<-done
	}}
}
