package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/admingrpc"
	"github.com/onbehalf/obo/wire/auditgrpc"
	"github.com/onbehalf/obo/wire/exchangegrpc"
	"github.com/onbehalf/obo/wire/feedgrpc"
	"github.com/onbehalf/obo/wire/grpcauth"
	"github.com/onbehalf/obo/wire/grpcerr"
	"github.com/onbehalf/obo/wire/identitygrpc"
	"github.com/onbehalf/obo/wire/oauthhttp"
	"github.com/onbehalf/obo/wire/scimhttp"
)

// drainFor bounds the drain. An exchange takes milliseconds.
const drainFor = 10 * time.Second

// streamWorkers: growing a goroutine's stack anew costs 4% of an exchange. They outnumber the cores because an exchange waits
// for its record.
const streamWorkers = 64

// newServer puts the parts behind their doors, and what a reload changes into live.
func newServer(cfg config.STS, p *parts, live *settings, doors *daemon.Doors, log *slog.Logger) (*daemon.Server, error) {
	limited := newLimiter(p.exchange)
	health := daemon.NewHealth(p.hub.Ready(), p.check, log)
	bearer, err := bearers(cfg)
	if err != nil {
		return nil, err
	}
	guard, err := daemon.NewGuard(grpcauth.Config{
		Bearer: bearer,
		Open: []string{ // exchange authenticates clients, and whoever signs in
			obov1.ExchangeService_ServiceDesc.ServiceName, obov1.SignInService_ServiceDesc.ServiceName,
		},
		Administrators: &grpcauth.Administrators{
			Services: []string{obov1.AdminService_ServiceDesc.ServiceName, obov1.AuditService_ServiceDesc.ServiceName},
			Verify:   p.tokens.VerifyAdministrator, Roles: p.roles, Log: log,
		},
	})
	if err != nil {
		return nil, err
	}
	live.guard, live.limited, live.exchange, live.key, live.sealed = guard, limited, p.exchange, p.kek, sealed{p.db}
	if err := live.apply(cfg, p.kek); err != nil {
		return nil, err
	}
	g := daemon.NewGRPC(daemon.GRPC{
		TLS: doors.TLS, Health: health, Guard: guard, Workers: streamWorkers, Reflection: cfg.Egress.AllowLoopback, Log: log,
		MaxMessage: admingrpc.MaxDocument + 64<<10, // the exchange door has a bound of its own
	})
	if err := register(g, p, limited, cfg.Hosts(), log); err != nil {
		return nil, err
	}
	oauth, err := oauthhttp.NewHandler(oauthhttp.Config{
		Issuer: cfg.Issuer, Exchange: limited, Events: limited, JWKS: p.ring.JWKS, JWKSMaxAge: jwksMaxAge,
		ClientAlgorithms: algorithms(), ProofAlgorithms: algorithms(), SigningAlgorithms: p.signingAlgorithms(cfg),
		MTLS: cfg.MTLSURL, Ready: health.Ready, Log: log,
	})
	if err != nil {
		return nil, err
	}
	scim, err := scimhttp.NewHandler(scimhttp.Config{Issuer: cfg.Issuer, Directories: p.admin, Log: log, Now: time.Now})
	if err != nil {
		return nil, err
	}
	issuer, err := url.Parse(cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	handler := http.NewServeMux()
	handler.Handle(strings.TrimSuffix(issuer.Path, "/")+scimhttp.Prefix, scim)
	handler.Handle("/", oauth)
	return &daemon.Server{
		Doors: doors, GRPC: g, HTTP: handler, Health: health, Delay: live.drainDelay, Drain: drainFor, Log: log,
		Work: map[string]func(context.Context) error{
			"the feed":     p.hub.Run,
			"the roster":   p.roster.Run,
			"key rotation": p.ring.Run,
			"activity":     p.activity.Run,
			"signal polls": p.poller.Run,
			"key reload":   func(ctx context.Context) error { return p.reloadKeys(ctx, log) },
			"purge":        func(ctx context.Context) error { return p.purge(ctx, log) },
		},
	}, nil
}

// bearers are what the callers of each service present.
func bearers(cfg config.STS) (map[string]telemetry.Secret, error) {
	operator, err := cfg.Admin.Token()
	if err != nil {
		return nil, err
	}
	follower, err := cfg.Feed.Token()
	return map[string]telemetry.Secret{
		obov1.AdminService_ServiceDesc.ServiceName:    operator,
		obov1.AuditService_ServiceDesc.ServiceName:    operator,
		obov1.FeedService_ServiceDesc.ServiceName:     follower,
		obov1.IdentityService_ServiceDesc.ServiceName: follower,
	}, err
}

// register adds the services.
func register(g grpcerr.Server, p *parts, limited *limiter, hosts []string, log *slog.Logger) error {
	feed, err := feedgrpc.New(feedgrpc.Config{Hub: p.hub, Roster: p.roster, Policies: policies{p}, Now: time.Now, Log: log})
	if err != nil {
		return err
	}
	trail, err := auditgrpc.New(auditgrpc.Config{
		Records: func(ctx context.Context, org delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error) {
			return p.db.org(org).AuditRecords(ctx, q)
		},
	})
	if err != nil {
		return err
	}
	exchangegrpc.Register(g, exchangegrpc.Config{Exchange: limited, Hosts: hosts})
	admingrpc.Register(g, p.admin, p.roster)
	admingrpc.RegisterSignIn(g, p.exchange)
	identitygrpc.Register(g, identities{limited})
	feed.Register(g)
	trail.Register(g)
	return nil
}

// policies is where the feed finds what followers decide by.
type policies struct{ parts *parts }

// Orgs lists the orgs.
func (p policies) Orgs(ctx context.Context) ([]delegation.OrgID, error) { return p.parts.db.Orgs(ctx) }

// Bundle is an org's policy bundle.
func (p policies) Bundle(ctx context.Context, org delegation.OrgID) (string, []byte, error) {
	version, document, err := p.parts.registry.Bundle(ctx, org)
	if errors.Is(err, registry.ErrUnknownOrg) {
		err = store.ErrNotFound // in the feed's words
	}
	return version, document, err
}

// identities is exchange in the words of the service that executors ask.
type identities struct{ limited *limiter }

// Identify tells whose login an ID token is.
func (i identities) Identify(ctx context.Context, org delegation.OrgID, token, clientID, nonce string) (string, time.Time, error) {
	who, err := i.limited.Identify(ctx, org, token, clientID, nonce)
	if e, ok := errors.AsType[*exchange.Error](err); ok {
		err = grpcerr.Error{
			Reason: grpcerr.Reason(e.Reason), Field: e.Field, Description: e.Description, RetryAfter: e.RetryAfter, Cause: e.Unwrap(),
		}
	}
	return who.Subject, who.Expiry, err
}

// algorithms are those that a client may sign its assertion or its proof of possession with.
func algorithms() []string {
	return []string{string(jose.ES256), string(jose.EdDSA), string(jose.Ed25519), string(jose.PS256), string(jose.RS256)}
}

// signingAlgorithms are those of the keys that are published, and of the next one.
func (p *parts) signingAlgorithms(cfg config.STS) []string {
	out := append([]string{cfg.Signing.Algorithm}, cfg.Signing.Algorithms...)
	for _, k := range p.ring.Keys() {
		out = append(out, string(k.Algorithm))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
