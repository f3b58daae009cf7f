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
	// Access says who may call what; health (GR8) and reflection are open. A service that it does not name is refused.
	Access grpcauth.Config
	// MaxMessage bounds a request, in bytes. A door may have a lower bound of its own.
	MaxMessage int
	// Workers are goroutines that keep their grown stacks from call to call; when all are busy, a call gets a goroutine of
	// its own. 0 for none.
	Workers uint32
	// Reflection tells callers what services there are. For development only.
	Reflection bool
	Log        *slog.Logger
}

// NewGRPC returns a gRPC server whose only services are health and reflection.
func NewGRPC(c GRPC) (grpcerr.Server, error) {
	c.Access.Open = append(c.Access.Open, grpc_health_v1.Health_ServiceDesc.ServiceName,
		"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
	guard, err := grpcauth.New(c.Access)
	if err != nil {
		return grpcerr.Server{}, err
	}
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(grpcerr.Unary(c.Log), trace, guard.Unary),
		grpc.ChainStreamInterceptor(grpcerr.Stream(c.Log), guard.Stream, c.Health.untilDrain),
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
	return g, nil
}

// trace gives every call the caller's trace id, or a new one.
func trace(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	parent := ""
	if values := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(values) == 1 {
		parent = values[0]
	}
	return next(telemetry.WithTraceparent(ctx, parent), req)
}
