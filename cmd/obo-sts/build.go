package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/poller"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// How keys live. A verifier may keep the key set for jwksMaxAge (its Cache-Control) and delegation.RemoteKeys refreshes
// within 10 minutes, so a key that is published for publishAhead is known to all of them when it first signs.
const (
	jwksMaxAge   = 5 * time.Minute
	publishAhead = 15 * time.Minute
	activeFor    = 30 * 24 * time.Hour
	clockSkew    = time.Minute // the most that a verifier's clock may be behind
)

// parts is the server without its doors.
type parts struct {
	db       engine
	set      *revocation.Set
	hub      *revocation.Hub
	roster   *revocation.Roster
	ring     *keys.Ring
	trail    *audit.Log
	registry *registry.Registry
	roles    *policy.Roles
	tokens   *delegation.Verifier // of our own tokens
	activity *exchange.Activity
	exchange *exchange.Service
	admin    *admin.Service
	poller   *poller.Poller
	nonces   *dpop.Nonces  // nil when none are demanded
	kek      seal.Key      // key-encryption key
	reload   chan struct{} // the signing keys have changed
}

// build opens the key ring and puts the parts together. Nothing runs yet.
func build(ctx context.Context, cfg config.STS, db engine, log *slog.Logger) (*parts, error) {
	p := &parts{db: db, set: revocation.NewSet(0), reload: make(chan struct{}, 1)}
	kek, err := keyOf(cfg).Open(ctx)
	if err != nil {
		return nil, err
	}
	p.kek = kek
	p.registry, err = registry.Open(registry.Config{
		Orgs: db.Orgs, Org: func(id delegation.OrgID) registry.OrgStore { return db.org(id) },
		Fresh: p.set.Fresh, Now: time.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	p.hub, err = revocation.NewHub(revocation.HubConfig{Store: db, Set: p.set, Log: log, OnChange: p.changed})
	if err != nil {
		return nil, err
	}
	// The ring must know what is burnt before it signs.
	if err := p.hub.Sync(ctx); err != nil {
		return nil, err
	}
	sources, err := openSources(ctx, cfg.Signing)
	if err != nil {
		return nil, err
	}
	p.ring, err = keys.Open(ctx, keys.Config{
		Store: db, Key: kek, Burnt: p.set.Burnt, Now: time.Now, Log: log, Sources: sources, Source: device(cfg),
		Policy: keys.Policy{
			Algorithm: jose.Algorithm(cfg.Signing.Algorithm), Algorithms: further(cfg), PublishAhead: publishAhead,
			ActiveFor: activeFor, MaxTokenLife: cfg.Limits.MaxLife + clockSkew,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		log.Warn("the host has no name; `obo followers` lists this replica as unnamed", "error", err)
	}
	p.roster, err = revocation.NewRoster(revocation.RosterConfig{Store: db, Hub: p.hub, Name: host, Log: log})
	if err != nil {
		return nil, err
	}
	p.trail, err = audit.Open(audit.Config{Store: db})
	if err != nil {
		return nil, err
	}
	if p.roles, err = policy.NewRoles(); err != nil {
		return nil, err
	}
	if err := p.buildAdmin(cfg, kek); err != nil {
		return nil, err
	}
	if cfg.DPoP.RequireNonce {
		p.nonces = dpop.NewNonces(kek, "as", cfg.DPoP.NonceLife) // good at every replica, which have the key in common
	}
	if err := p.buildExchange(cfg, log); err != nil {
		return nil, err
	}
	return p, p.buildPoller(cfg, kek, log)
}

// device is where new keys are made, when that is not here.
func device(cfg config.STS) string {
	if cfg.Signing.Source == "store" {
		return ""
	}
	return cfg.Signing.Source
}

// further are the algorithms that orgs may choose beside the server's own.
func further(cfg config.STS) []jose.Algorithm {
	out := make([]jose.Algorithm, len(cfg.Signing.Algorithms))
	for i, alg := range cfg.Signing.Algorithms {
		out[i] = jose.Algorithm(alg)
	}
	return out
}

// changed drops what a change made stale. The hub calls it before anybody else hears of the change.
func (p *parts) changed(c store.Change) {
	p.registry.Changed(c)
	if p.poller != nil { // nothing is polled before it is there
		p.poller.Changed(c)
	}
	if c.Kind == store.ChangeKeys || c.Kind == store.ChangeRevocation && c.Org == store.PlatformOrg { // a key is burnt
		select {
		case p.reload <- struct{}{}:
		default: // one reload is waiting already
		}
	}
}

func (p *parts) buildExchange(cfg config.STS, log *slog.Logger) error {
	var err error
	p.tokens, err = delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: cfg.Issuer, AnyAudience: true, Keys: p.ring, Revocations: p.set, Now: time.Now, MaxDepth: cfg.Limits.MaxDepth,
		AcceptBound: true, // whose key must be proven depends on what is asked for (ACT9): exchange knows
	})
	if err != nil {
		return err
	}
	p.activity, err = exchange.NewActivity(func(id delegation.OrgID) exchange.ActivityStore { return p.db.org(id) }, log)
	if err != nil {
		return err
	}
	p.exchange, err = exchange.New(exchange.Config{
		Issuer: cfg.Issuer, Orgs: p.registry, Tokens: p.tokens, Revocations: p.set,
		Assertions: func(id delegation.OrgID) exchange.Assertions { return p.db.org(id) },
		Audit:      p.trail, Signer: p.ring, HTTP: egress.NewClient(reachable(cfg, egress.Config{})), Now: time.Now, Log: log,
		Limits: exchange.Limits{
			DefaultLife: cfg.Limits.DefaultLife, MaxLife: cfg.Limits.MaxLife, MaxDepth: cfg.Limits.MaxDepth,
		},
		Algorithm: jose.Algorithm(cfg.Signing.Algorithm), Revoker: p.admin, Signals: p.admin, Nonces: p.nonces,
		Operators: operators(cfg.Operators), Activity: p.activity,
		Users: func(id delegation.OrgID) exchange.UserStore { return p.db.org(id) },
	})
	return err
}

// reachable lets a client go where the configuration does.
func reachable(cfg config.STS, c egress.Config) egress.Config {
	if cfg.Egress.AllowLoopback {
		c.AllowPrivate = egress.Loopback()
	}
	return c
}

// buildPoller makes what fetches the events of streams that are polled. They do what those that are pushed do.
func (p *parts) buildPoller(cfg config.STS, kek seal.Key, log *slog.Logger) (err error) {
	p.poller, err = poller.New(poller.Config{
		List: p.db.Orgs, Store: func(id delegation.OrgID) poller.Store { return p.db.org(id) }, Orgs: p.registry, Take: p.exchange,
		Key:  kek,
		HTTP: egress.NewClient(reachable(cfg, egress.Config{Timeout: poller.Timeout, MaxResponse: signals.MaxReply})),
		Now:  time.Now, Log: log,
	})
	return err
}

// operators are the people that the configuration lets operate the server.
func operators(list []config.Operator) []exchange.Operator {
	out := make([]exchange.Operator, len(list))
	for i, o := range list {
		out[i] = exchange.Operator{
			Name: o.Name, URL: o.Issuer, Audience: o.Audience, Subject: o.Subject, Group: o.Group, GroupsClaim: o.GroupsClaim,
		}
	}
	return out
}

func (p *parts) buildAdmin(cfg config.STS, kek seal.Key) (err error) {
	p.admin, err = admin.New(admin.Config{
		Orgs:        p.db.OrgsPage,
		Config:      func(id delegation.OrgID) admin.ConfigStore { return p.db.org(id) },
		Revocations: func(id delegation.OrgID) admin.RevocationStore { return p.db.org(id) },
		Activity:    func(id delegation.OrgID) admin.ActivityStore { return p.db.org(id) },
		Directory:   func(id delegation.OrgID) admin.DirectoryStore { return p.db.org(id) },
		Signals:     func(id delegation.OrgID) admin.SignalStore { return p.db.org(id) }, Key: kek,
		Registry: p.registry, Audit: p.trail, Keys: p.ring, Roles: p.roles, Sync: p.hub.Sync,
		MaxLife: cfg.Limits.MaxLife + clockSkew, Now: time.Now,
	})
	return err
}

// reloadKeys reads the signing keys again when another replica has changed them.
func (p *parts) reloadKeys(ctx context.Context, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.reload:
			if err := p.ring.Reload(ctx); err != nil && ctx.Err() == nil {
				log.Error("signing keys were not reloaded", "error", err) // Run reads them again by and by
			}
		}
	}
}

// purge forgets what has expired: used assertions and dead revocations.
func (p *parts) purge(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := p.db.PurgeExpired(ctx, time.Now()); err != nil && ctx.Err() == nil {
				log.Error("expired records were not purged", "error", err)
			}
		}
	}
}

// check says whether the server can do its work: nil, or why not. It costs one round trip to the store.
func (p *parts) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := p.db.Ping(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := p.set.Fresh(time.Now()); err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	for _, k := range p.ring.Keys() {
		if k.State == keys.StateActive {
			return nil
		}
	}
	return errors.New("no active signing key")
}
