package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
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
)

// streamWorkers are goroutines that keep their grown stacks from call to call: growing one anew costs 4% of an exchange. They
// outnumber the cores because an exchange waits for its record; when all are busy, a call gets a goroutine of its own.
const streamWorkers = 64

// newGRPC builds the gRPC server with all its services.
func (s *server) newGRPC(cfg config.STS, x exchangegrpc.Exchanger) (grpcerr.Server, error) {
	guard, err := newGuard(cfg)
	if err != nil {
		return grpcerr.Server{}, err
	}
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(grpcerr.Unary(s.log), trace, guard.Unary),
		grpc.ChainStreamInterceptor(grpcerr.Stream(s.log), guard.Stream),
		grpc.MaxRecvMsgSize(admingrpc.MaxDocument + 64<<10), // the exchange door has a bound of its own
		grpc.MaxHeaderListSize(32 << 10),
		grpc.MaxConcurrentStreams(1024),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 15 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true), // Stop returns when nothing uses the store any more
	}
	if s.doors.tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.doors.tls)))
	}
	g := grpcerr.NewServer(options...)
	return g, s.register(g, cfg, x)
}

func (s *server) register(g grpcerr.Server, cfg config.STS, x exchangegrpc.Exchanger) error {
	var err error
	s.feed, err = feedgrpc.New(feedgrpc.Config{
		Hub: s.hub, Set: s.set, Policies: policies{s.parts}, Now: time.Now, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.audit, err = auditgrpc.New(auditgrpc.Config{
		Records: func(ctx context.Context, org delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error) {
			return s.db.org(org).AuditRecords(ctx, q)
		},
	})
	if err != nil {
		return err
	}
	exchangegrpc.Register(g, x)
	admingrpc.Register(g, s.admin)
	s.feed.Register(g)
	s.audit.Register(g)
	grpc_health_v1.RegisterHealthServer(g, s.health)
	if cfg.Egress.AllowLoopback { // only a development server may
		reflection.Register(g)
	}
	return nil
}

// newGuard says who may call what. A service that is not named here is refused.
func newGuard(cfg config.STS) (*grpcauth.Guard, error) {
	operator, err := cfg.Admin.Token()
	if err != nil {
		return nil, err
	}
	follower, err := cfg.Feed.Token()
	if err != nil {
		return nil, err
	}
	return grpcauth.New(grpcauth.Config{
		Bearer: map[string]telemetry.Secret{
			obov1.AdminService_ServiceDesc.ServiceName: operator,
			obov1.AuditService_ServiceDesc.ServiceName: operator,
			obov1.FeedService_ServiceDesc.ServiceName:  follower,
		},
		Open: []string{
			obov1.ExchangeService_ServiceDesc.ServiceName, // exchange authenticates clients
			grpc_health_v1.Health_ServiceDesc.ServiceName, // GR8
			"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
		},
	})
}

// trace gives every call the caller's trace id, or a new one.
func trace(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	parent := ""
	if values := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(values) == 1 {
		parent = values[0]
	}
	return next(telemetry.WithTraceparent(ctx, parent), req)
}

// services are the names of our services, sorted.
func services(g grpcerr.Server) []string { return slices.Sorted(maps.Keys(g.GetServiceInfo())) }

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

// clientAlgorithms are those that a client may sign its assertion with.
func clientAlgorithms() []string {
	return []string{string(jose.ES256), string(jose.EdDSA), string(jose.Ed25519), string(jose.PS256), string(jose.RS256)}
}
