package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/executor/notify"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
	"github.com/onbehalf/obo/wire/feedgrpc"
)

// callTimeout bounds any call to a provider, whatever its record says.
const callTimeout = 60 * time.Second

// parts is the executor without its doors.
type parts struct {
	db       engine
	kek      seal.Key // key-encryption key
	set      *revocation.Set
	policies *executor.Policies
	follower *revocation.Follower
	trail    *audit.Log
	nonces   *dpop.Nonces // nil when none are demanded
	links    *connection.Links
	keeper   *connection.Keeper
	accounts *connection.Connector
	executor *executor.Service
	connect  *executor.Connect
	admin    *executor.Admin
	ender    *executor.Ender
	notifier *notify.Notifier
	verifier *delegation.Verifier // of the token server's tokens
	roles    *policy.Roles        // of administrators
}

func build(ctx context.Context, cfg config.Executor, db engine, live *settings, log *slog.Logger) (*parts, error) {
	key, err := keyOf(cfg).Open(ctx)
	if err != nil {
		return nil, err
	}
	p := &parts{db: db, kek: key, set: revocation.NewSet(cfg.Feed.StaleAfter), policies: executor.NewPolicies(log)}
	safe, err := vault.Open(vault.Config{Org: func(id delegation.OrgID) vault.DataKeyStore { return db.org(id) }, Key: key})
	if err != nil {
		return nil, err
	}
	if p.trail, err = audit.Open(audit.Config{Store: db}); err != nil {
		return nil, err
	}
	catalog, err := connection.NewCatalog(connection.CatalogConfig{
		Org:           func(id delegation.OrgID) connection.ProviderStore { return db.org(id) },
		AllowLoopback: cfg.Egress.AllowLoopback,
	})
	if err != nil {
		return nil, err
	}
	if err := p.buildAccounts(cfg, live, catalog, safe, log); err != nil {
		return nil, err
	}
	webhooks, err := p.buildWebhooks(cfg, safe, log)
	if err != nil {
		return nil, err
	}
	if err := p.buildAdmin(catalog, safe, webhooks); err != nil {
		return nil, err
	}
	if p.roles, err = policy.NewRoles(); err != nil {
		return nil, err
	}
	if p.ender, err = executor.NewEnder(p.admin, log); err != nil {
		return nil, err
	}
	if cfg.DPoP.RequireNonce {
		p.nonces = dpop.NewNonces(key, "rs", cfg.DPoP.NonceLife) // good at every replica, which have the key in common
	}
	return p, errors.Join(p.buildExecutor(cfg, catalog, safe, log), p.buildFollower(cfg, live, log))
}

// buildAccounts makes what connects accounts and keeps them.
func (p *parts) buildAccounts(cfg config.Executor, live *settings, catalog *connection.Catalog, safe *vault.Vault, log *slog.Logger) error {
	client := p.egress(cfg)
	var err error
	p.links, err = connection.NewLinks(connection.LinksConfig{
		Org: func(id delegation.OrgID) connection.Store { return p.db.org(id) }, Providers: catalog, Vault: safe, Now: time.Now,
	})
	if err != nil {
		return err
	}
	p.keeper, err = connection.NewKeeper(connection.KeeperConfig{
		Org: func(id delegation.OrgID) connection.KeeperStore { return p.db.org(id) }, Providers: catalog, Vault: safe, HTTP: client,
		RedirectURI: connection.RedirectURI(cfg.PublicURL), Now: time.Now, Log: log,
	})
	if err != nil {
		return err
	}
	who, err := newIdentifier(cfg, live)
	if err != nil {
		return err
	}
	p.accounts, err = connection.NewConnector(connection.ConnectorConfig{
		Org: func(id delegation.OrgID) connection.ConnectorStore { return p.db.org(id) }, Providers: catalog, Links: p.links,
		Vault: safe, Keeper: p.keeper,
		Identify: who, HTTP: client, Origin: cfg.PublicURL, Audit: p.trail, Now: time.Now, Log: log,
	})
	return err
}

func (p *parts) buildAdmin(catalog *connection.Catalog, safe *vault.Vault, webhooks *notify.Webhooks) error {
	clients, err := connection.NewClients(connection.ClientsConfig{
		Org: func(id delegation.OrgID) connection.ClientStore { return p.db.org(id) }, Providers: catalog, Vault: safe, Now: time.Now,
	})
	if err != nil {
		return err
	}
	keys, err := vault.NewRotator(safe, func(id delegation.OrgID) vault.RotateStore { return p.db.org(id) })
	if err != nil {
		return err
	}
	events, err := executor.NewEvents(func(id delegation.OrgID) executor.EventStore { return p.db.org(id) })
	if err != nil {
		return err
	}
	p.admin, err = executor.NewAdmin(executor.AdminConfig{
		Providers: catalog, Links: p.links, Clients: clients, Accounts: p.accounts,
		Themes:  connection.Themes{Org: func(id delegation.OrgID) connection.ThemeStore { return p.db.org(id) }, Now: time.Now},
		Release: p.keeper, Keys: keys, Events: events,
		Webhooks: webhooks, Audit: p.trail, Now: time.Now,
	})
	return err
}

// egress is the way out to providers and issuers.
func (p *parts) egress(cfg config.Executor) *http.Client {
	out := egress.Config{Timeout: callTimeout, MaxResponse: connection.MaxAnswer}
	if cfg.Egress.AllowLoopback {
		out.AllowPrivate = egress.Loopback()
	}
	return egress.NewClient(out)
}

func (p *parts) buildExecutor(cfg config.Executor, catalog *connection.Catalog, safe *vault.Vault, log *slog.Logger) error {
	keys, err := keySource(cfg)
	if err != nil {
		return err
	}
	p.verifier, err = delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: cfg.Issuer, Audience: cfg.Audience, Keys: keys, Revocations: p.set,
		AcceptBound: true, // the executor checks the proof of possession itself
	})
	if err != nil {
		return err
	}
	checker, err := dpop.NewChecker(dpop.Config{Now: time.Now, Nonces: p.nonces})
	if err != nil {
		return err
	}
	p.executor, err = executor.New(executor.Config{
		Verifier: p.verifier, Checker: checker, RequireDPoP: cfg.RequireDPoP,
		Proofs:      func(id delegation.OrgID) executor.Proofs { return p.db.org(id) },
		Revocations: p.set, Policies: p.policies, Providers: catalog,
		Connections: func(id delegation.OrgID) executor.Connections { return p.db.org(id) },
		Vault:       safe, Credentials: p.keeper, Reconnect: p.accounts, Audit: p.trail, HTTP: p.egress(cfg), Now: time.Now, Log: log,
	})
	if err != nil {
		return err
	}
	p.connect, err = executor.NewConnect(p.executor, p.accounts)
	return err
}

func (p *parts) buildFollower(cfg config.Executor, live *settings, log *slog.Logger) error {
	servers, err := cfg.Feed.Servers()
	if err != nil {
		return err
	}
	var feeds []revocation.Feed
	for _, s := range servers {
		feeds = append(feeds, feedgrpc.Client{Address: s.Address, TLS: s.TLS, Token: live.followerToken})
	}
	name := cfg.Feed.Name
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			log.Warn("the host has no name; `obo followers` lists this executor as unnamed", "error", err)
		}
		name = revocation.NameOf(host)
	}
	p.follower, err = revocation.NewFollower(revocation.FollowerConfig{
		Feeds: feeds, Set: p.set, Name: name, OnPolicy: p.policies.Apply, Log: log,
		OnRevoked: func(ending []store.Revocation) int {
			p.ender.End(ending)
			return p.executor.Recheck()
		},
	})
	return err
}

// purge forgets the proofs that are refused for their age anyway.
func (p *parts) purge(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := p.db.PurgeExpired(ctx, time.Now()); err != nil && ctx.Err() == nil {
				log.Error("used proofs were not purged", "error", err)
			}
		}
	}
}

// check says whether the executor can do its work: nil, or why not. It costs one round trip to the store.
func (p *parts) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := p.db.Ping(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := p.set.Fresh(time.Now()); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	return nil
}
