package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/auditgrpc"
	"github.com/onbehalf/obo/wire/executorgrpc"
	"github.com/onbehalf/obo/wire/grpcauth"
)

// drainFor bounds the drain: longer than any call to a provider, so that no call that was sent loses its outcome.
const drainFor = callTimeout + 20*time.Second

// newServer puts the parts behind their doors.
func newServer(cfg config.Executor, p *parts, doors *daemon.Doors, log *slog.Logger) (*daemon.Server, error) {
	health := daemon.NewHealth(p.follower.Ready(), p.check, log)
	operator, err := cfg.Admin.Token()
	if err != nil {
		return nil, err
	}
	g, err := daemon.NewGRPC(daemon.GRPC{
		TLS: doors.TLS, Health: health, Reflection: cfg.Egress.AllowLoopback, Log: log,
		MaxMessage: executorgrpc.MaxRequest + 64<<10, // the agents' door has a bound of its own
		Access: grpcauth.Config{
			Bearer: map[string]telemetry.Secret{
				obov1.ExecutorAdminService_ServiceDesc.ServiceName: operator,
				obov1.AuditService_ServiceDesc.ServiceName:         operator,
			},
			Open: []string{obov1.ExecutorService_ServiceDesc.ServiceName}, // executor verifies the delegation token
		},
	})
	if err != nil {
		return nil, err
	}
	trail, err := auditgrpc.New(auditgrpc.Config{
		Records: func(ctx context.Context, org delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error) {
			return p.db.org(org).AuditRecords(ctx, q)
		},
	})
	if err != nil {
		return nil, err
	}
	executorgrpc.Register(g, executorgrpc.Config{
		Executor: p.executor, Hosts: cfg.Hosts(), ResourceMetadata: cfg.ResourceMetadata,
	})
	executorgrpc.RegisterAdmin(g, p.admin)
	trail.Register(g)
	web, err := newWeb(cfg, p.executor, health.Ready)
	if err != nil {
		return nil, err
	}
	return &daemon.Server{
		Doors: doors, GRPC: g, HTTP: web, Health: health, Drain: drainFor, Log: log,
		Work: map[string]func(context.Context) error{
			"the feed": p.follower.Run,
			"purge":    func(ctx context.Context) error { return p.purge(ctx, log) },
		},
	}, nil
}
