package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/auditgrpc"
	"github.com/onbehalf/obo/wire/connecthttp"
	"github.com/onbehalf/obo/wire/executorgrpc"
	"github.com/onbehalf/obo/wire/grpcauth"
)

// drainFor bounds the drain: longer than any call to a provider, so that no call that was sent loses its outcome.
const drainFor = callTimeout + 20*time.Second

// newServer puts the parts behind their doors, and what a reload changes into live.
func newServer(cfg config.Executor, p *parts, live *settings, doors *daemon.Doors, log *slog.Logger) (*daemon.Server, error) {
	health := daemon.NewHealth(p.follower.Ready(), p.check, log)
	bearer, err := bearers(cfg)
	if err != nil {
		return nil, err
	}
	guard, err := daemon.NewGuard(grpcauth.Config{
		Bearer: bearer,
		// The executor verifies the delegation token.
		Open: []string{obov1.ExecutorService_ServiceDesc.ServiceName, obov1.ConnectService_ServiceDesc.ServiceName},
		Administrators: &grpcauth.Administrators{
			Services: []string{obov1.ExecutorAdminService_ServiceDesc.ServiceName, obov1.AuditService_ServiceDesc.ServiceName},
			Verify:   p.verifier.VerifyAdministrator, Roles: p.roles, Log: log,
		},
	})
	if err != nil {
		return nil, err
	}
	live.guard, live.key, live.sealed = guard, p.kek, sealed{p.db}
	if err := live.apply(cfg, p.kek); err != nil {
		return nil, err
	}
	g := daemon.NewGRPC(daemon.GRPC{
		TLS: doors.TLS, Health: health, Guard: guard, Reflection: cfg.Egress.AllowLoopback, Log: log,
		MaxMessage: executorgrpc.MaxRequest + 64<<10, // the agents' door has a bound of its own
	})
	trail, err := auditgrpc.New(auditgrpc.Config{
		Records: func(ctx context.Context, org delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error) {
			return p.db.org(org).AuditRecords(ctx, q)
		},
	})
	if err != nil {
		return nil, err
	}
	door := executorgrpc.Config{Executor: p.executor, Hosts: cfg.Hosts(), ResourceMetadata: cfg.ResourceMetadata}
	executorgrpc.Register(g, door)
	executorgrpc.RegisterConnect(g, door, p.connect)
	executorgrpc.RegisterAdmin(g, p.admin, connection.RedirectURI(cfg.PublicURL))
	trail.Register(g)
	pages, err := connecthttp.New(connecthttp.Config{
		Connector: p.accounts, Secure: strings.HasPrefix(cfg.PublicURL, "https:"), Log: log,
	})
	if err != nil {
		return nil, err
	}
	web, err := newWeb(cfg, p.executor, health.Ready, pages)
	if err != nil {
		return nil, err
	}
	return &daemon.Server{
		Doors: doors, GRPC: g, HTTP: web, Health: health, Delay: live.drainDelay, Drain: drainFor, Log: log,
		Work: map[string]func(context.Context) error{
			"the feed": p.follower.Run,
			"ending":   p.ender.Run,
			"keeping":  func(ctx context.Context) error { return p.keeper.Run(ctx, p.db.DueConnections) },
			"webhooks": p.notifier.Run,
			"purge":    func(ctx context.Context) error { return p.purge(ctx, log) },
		},
	}, nil
}

// bearers are what the callers of each service present.
func bearers(cfg config.Executor) (map[string]telemetry.Secret, error) {
	operator, err := cfg.Admin.Token()
	return map[string]telemetry.Secret{
		obov1.ExecutorAdminService_ServiceDesc.ServiceName: operator,
		obov1.AuditService_ServiceDesc.ServiceName:         operator,
	}, err
}
