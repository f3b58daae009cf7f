package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/health"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/wire/auditgrpc"
	"github.com/onbehalf/obo/wire/feedgrpc"
	"github.com/onbehalf/obo/wire/grpcerr"
	"github.com/onbehalf/obo/wire/oauthhttp"
)

// drainFor bounds the drain: what is not answered by then is cut off. An exchange takes milliseconds.
const drainFor = 10 * time.Second

var errEnded = errors.New("without a reason")

// server is the parts behind their doors.
type server struct {
	*parts
	doors  *doors
	grpc   grpcerr.Server
	http   *http.Server
	health *health.Server
	state  *readiness
	feed   *feedgrpc.Server
	audit  *auditgrpc.Server
	log    *slog.Logger
}

func newServer(cfg config.STS, p *parts, d *doors, log *slog.Logger) (*server, error) {
	limited := newLimiter(p.exchange, cfg.Limits.MaxConcurrent)
	s := &server{parts: p, doors: d, health: health.NewServer(), log: log}
	s.state = newReadiness(s.health, p.check, log)
	var err error
	if s.grpc, err = s.newGRPC(cfg, limited); err != nil {
		return nil, err
	}
	s.state.names = services(s.grpc)
	handler, err := oauthhttp.NewHandler(oauthhttp.Config{
		Issuer: cfg.Issuer, Exchange: limited, JWKS: p.ring.JWKS, JWKSMaxAge: jwksMaxAge,
		ClientAlgorithms: clientAlgorithms(), Ready: s.state.ready, Log: log,
	})
	if err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	if d.tls != nil {
		s.http.TLSConfig = d.tls.Clone()
	}
	return s, nil
}

// run serves until ctx ends or a part fails; then it drains, and returns why when it was not ctx.
func (s *server) run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx)) // the parts work until the drain is over
	defer stop()
	g, failing := errgroup.WithContext(ctx)
	loop := func(name string, f func(context.Context) error) {
		g.Go(func() error {
			if err := f(work); work.Err() == nil {
				return fmt.Errorf("%s ended: %w", name, cmp.Or(err, errEnded))
			}
			return nil
		})
	}
	loop("the feed", s.hub.Run)
	loop("key rotation", s.ring.Run)
	loop("key reload", func(ctx context.Context) error { return s.reloadKeys(ctx, s.log) })
	loop("purge", func(ctx context.Context) error { return s.purge(ctx, s.log) })
	loop("readiness", func(ctx context.Context) error { return s.state.watch(ctx, s.hub.Ready()) })
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
	var err error
	if s.doors.tls != nil {
		err = s.http.ServeTLS(s.doors.http, "", "")
	} else {
		err = s.http.Serve(s.doors.http)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// drain says NOT_SERVING, takes no new call, answers those that run, and makes their records durable (GR8).
func (s *server) drain(ctx context.Context) error {
	s.log.Info("draining", "at_most", drainFor.String())
	s.state.stop()
	s.feed.Drain()
	s.audit.Drain()
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
	return errors.Join(httpErr, s.trail.Close(ctx))
}
