package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/auditgrpc"
	"github.com/onbehalf/obo/wire/executorgrpc"
	"github.com/onbehalf/obo/wire/grpcauth"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// drainFor bounds the drain: longer than any call to a provider, so that no call that was sent loses its outcome.
const drainFor = callTimeout + 20*time.Second

// server is the parts behind their doors.
type server struct {
	*parts
	doors  *doors
	grpc   grpcerr.Server
	http   *http.Server
	health *health.Server
	state  *readiness
	streams
	log *slog.Logger
}

func newServer(cfg config.Executor, p *parts, d *doors, log *slog.Logger) (*server, error) {
	s := &server{parts: p, doors: d, health: health.NewServer(), streams: newStreams(), log: log}
	s.state = newReadiness(s.health, p.check, log)
	var err error
	if s.grpc, err = s.newGRPC(cfg); err != nil {
		return nil, err
	}
	s.state.names = slices.Sorted(maps.Keys(s.grpc.GetServiceInfo()))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	s.http = &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	if d.tls != nil {
		s.http.TLSConfig = d.tls.Clone()
		s.http.TLSConfig.NextProtos = []string{"h2", "http/1.1"}
	}
	return s, nil
}

// healthz says whether the executor can do its work; why not is for the log.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if s.state.ready() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "not ready")
		return
	}
	fmt.Fprintln(w, "ok")
}

// newGRPC builds the gRPC server with all its services.
func (s *server) newGRPC(cfg config.Executor) (grpcerr.Server, error) {
	guard, err := newGuard(cfg)
	if err != nil {
		return grpcerr.Server{}, err
	}
	trail, err := auditgrpc.New(auditgrpc.Config{
		Records: func(ctx context.Context, org delegation.OrgID, q store.AuditQuery) ([]store.AuditRecord, error) {
			return s.db.org(org).AuditRecords(ctx, q)
		},
	})
	if err != nil {
		return grpcerr.Server{}, err
	}
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(grpcerr.Unary(s.log), trace, guard.Unary),
		grpc.ChainStreamInterceptor(grpcerr.Stream(s.log), guard.Stream, s.intercept),
		grpc.MaxRecvMsgSize(executorgrpc.MaxRequest + 64<<10), // the agents' door has a bound of its own
		grpc.MaxHeaderListSize(32 << 10),
		grpc.MaxConcurrentStreams(1024),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true), // Stop returns when nothing uses the store any more
	}
	if s.doors.tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.doors.tls)))
	}
	g := grpcerr.NewServer(options...)
	executorgrpc.Register(g, s.executor)
	executorgrpc.RegisterAdmin(g, s.admin)
	trail.Register(g)
	grpc_health_v1.RegisterHealthServer(g, s.health)
	if cfg.Egress.AllowLoopback { // only a development server may
		reflection.Register(g)
	}
	return g, nil
}

// newGuard says who may call what. A service that is not named here is refused.
func newGuard(cfg config.Executor) (*grpcauth.Guard, error) {
	operator, err := cfg.Admin.Token()
	if err != nil {
		return nil, err
	}
	return grpcauth.New(grpcauth.Config{
		Bearer: map[string]telemetry.Secret{
			obov1.ExecutorAdminService_ServiceDesc.ServiceName: operator,
			obov1.AuditService_ServiceDesc.ServiceName:         operator,
		},
		Open: []string{
			obov1.ExecutorService_ServiceDesc.ServiceName, // executor verifies the delegation token
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

// run serves until ctx ends or a part fails; then it drains, and returns why when it was not ctx.
func (s *server) run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx)) // the parts work until the drain is over
	defer stop()
	g, failing := errgroup.WithContext(ctx)
	loop := func(name string, f func(context.Context) error) {
		g.Go(func() error {
			if err := f(work); work.Err() == nil {
				return fmt.Errorf("%s ended: %w", name, err)
			}
			return nil
		})
	}
	loop("the feed", s.follower.Run)
	loop("readiness", func(ctx context.Context) error { return s.state.watch(ctx, s.follower.Ready()) })
	g.Go(func() error { return s.grpc.Serve(s.doors.grpc) })
	g.Go(s.serveHTTP)
	g.Go(func() error {
		<-failing.Done()
		err := s.drain(context.WithoutCancel(ctx))
		stop()
		return err
	})
	return g.Wait()
}

func (s *server) serveHTTP() error {
	l := s.doors.http
	if s.doors.tls != nil {
		l = tls.NewListener(l, s.http.TLSConfig)
	}
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// drain says NOT_SERVING, takes no new call, waits for those that run, and makes their records durable (GR8).
func (s *server) drain(ctx context.Context) error {
	s.log.Info("draining", "at most", drainFor)
	s.state.stop()
	s.end()
	ctx, cancel := context.WithTimeout(ctx, drainFor)
	defer cancel()
	var wait sync.WaitGroup
	wait.Go(func() {
		defer context.AfterFunc(ctx, s.grpc.Stop)() // cuts off what GracefulStop waits for
		s.grpc.GracefulStop()
	})
	var httpErr error
	wait.Go(func() {
		if httpErr = s.http.Shutdown(ctx); httpErr != nil {
			httpErr = errors.Join(httpErr, s.http.Close())
		}
	})
	wait.Wait()
	// A call that was cut off still writes its outcome (executor.Service): the trail closes last, with time of its own.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return errors.Join(httpErr, s.trail.Close(ctx))
}
