// Package daemon is what obo-sts and obo-executor have in common: a command line, a folder to start from, two doors, a
// health that follows readiness, and a drain. It knows nothing of what is behind the doors.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/onbehalf/obo/wire/grpcerr"
)

var errEnded = errors.New("without a reason")

// Server is two doors and the work behind them. Every field is required.
type Server struct {
	Doors  *Doors
	GRPC   grpcerr.Server // of NewGRPC, with its services registered
	HTTP   http.Handler
	Health *Health
	// Work runs beside the doors, by name, until the drain is over. What ends before that ends the server.
	Work map[string]func(context.Context) error
	// Delay is how long the doors stay open in a drain before they close, so that whoever spreads the load notices. It is asked
	// when the server is told to end; one that failed closes at once.
	Delay func() time.Duration
	// Drain bounds what comes after: a call that is not answered by then is cut off.
	Drain time.Duration
	Log   *slog.Logger
}

// Run serves until ctx ends or a part fails; then it drains, and returns why when it was not ctx.
func (s *Server) Run(ctx context.Context) error {
	s.Health.start(slices.Sorted(maps.Keys(s.GRPC.GetServiceInfo())))
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
	for name, f := range s.Work {
		loop(name, f)
	}
	loop("readiness", s.Health.watch)
	if c := s.Doors.certificate; c != nil {
		loop("certificate reload", func(ctx context.Context) error { return c.watch(ctx, s.Log) })
	}
	web := s.web()
	g.Go(func() error { return unless(grpc.ErrServerStopped, s.GRPC.Serve(s.Doors.GRPC)) })
	g.Go(func() error { return unless(http.ErrServerClosed, s.serveHTTP(web)) })
	g.Go(func() error {
		<-failing.Done()
		s.Health.drain()
		if ctx.Err() != nil {
			delay := s.Delay()
			s.Log.Info("told to end: the doors stay open for the delay", "delay", delay.String())
			time.Sleep(delay)
		}
		err := s.drain(context.WithoutCancel(ctx), web)
		stop()
		return err
	})
	return g.Wait()
}

// unless is err, or nil when that is how a server says that it was told to stop.
func unless(told, err error) error {
	if errors.Is(err, told) {
		return nil
	}
	return err
}

func (s *Server) web() *http.Server {
	return &http.Server{
		Handler: s.Health.parting(s.HTTP), TLSConfig: s.Doors.TLS, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

func (s *Server) serveHTTP(web *http.Server) error {
	if s.Doors.TLS == nil {
		return web.Serve(s.Doors.HTTP)
	}
	return web.ServeTLS(s.Doors.HTTP, "", "")
}

// drain takes no new call and answers those that run (GR8).
func (s *Server) drain(ctx context.Context, web *http.Server) (err error) {
	s.Log.Info("draining", "at_most", s.Drain.String())
	s.Health.cut()
	ctx, cancel := context.WithTimeout(ctx, s.Drain)
	defer cancel()
	var wait sync.WaitGroup
	wait.Go(func() {
		defer context.AfterFunc(ctx, s.GRPC.Stop)() // cuts off what GracefulStop waits for
		s.GRPC.GracefulStop()
	})
	wait.Go(func() {
		if err = web.Shutdown(ctx); err != nil {
			err = errors.Join(err, web.Close())
		}
	})
	wait.Wait()
	return err
}

// Finish lets f end with time of its own, whatever became of ctx: a call that was cut off still writes its record, so the
// trail closes after the drain, and what it holds is made durable.
func Finish(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return f(ctx)
}
