package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"

	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/grpcauth"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// GRPC says how the gRPC door is built.
type GRPC struct {
	TLS    *tls.Config // nil for plaintext
	Health *Health
	// Guard says who may call what: of NewGuard.
	Guard *grpcauth.Guard
	// MaxMessage bounds a request, in bytes. A door may have a lower bound of its own.
	MaxMessage int
	// Workers are goroutines that keep their grown stacks from call to call; when all are busy, a call gets a goroutine of
	// its own. 0 for none.
	Workers uint32
	// Reflection tells callers what services there are. For development only.
	Reflection bool
	Log        *slog.Logger
}

// NewGuard returns a guard that also lets everybody ask for health (GR8) and reflection. A service that access does not name is
// refused.
func NewGuard(access grpcauth.Config) (*grpcauth.Guard, error) {
	access.Open = append(access.Open, grpc_health_v1.Health_ServiceDesc.ServiceName,
		"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
	return grpcauth.New(access)
}

// NewGRPC returns a gRPC server whose only services are health and reflection.
func NewGRPC(c GRPC) grpcerr.Server {
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(grpcerr.Unary(c.Log), trace, c.Guard.Unary),
		grpc.ChainStreamInterceptor(grpcerr.Stream(c.Log), c.Guard.Stream, c.Health.untilClose),
		grpc.MaxRecvMsgSize(c.MaxMessage),
		grpc.MaxHeaderListSize(32 << 10),
		grpc.MaxConcurrentStreams(1024),
		grpc.NumStreamWorkers(c.Workers),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true), // Stop returns when nothing uses the store any more
	}
	if c.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(c.TLS)))
	}
	g := grpcerr.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(g, c.Health.server)
	if c.Reflection {
		reflection.Register(g)
	}
	return g
}

// trace gives every call the caller's trace id, or a new one.
func trace(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	parent := ""
	if values := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(values) == 1 {
		parent = values[0]
	}
	return next(telemetry.WithTraceparent(ctx, parent), req)
}
