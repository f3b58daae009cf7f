package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

var (
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
)

// readiness keeps what the health pages of both doors say: whether the server can do its work, and not merely that it is
// there.
type readiness struct {
	health *health.Server
	names  []string // of the services
	check  func(ctx context.Context) error
	log    *slog.Logger

	mu      sync.Mutex
	why     error // nil when ready
	stopped bool
}

func newReadiness(h *health.Server, check func(ctx context.Context) error, log *slog.Logger) *readiness {
	r := &readiness{health: h, check: check, log: log, why: errStarting}
	h.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	return r
}

// ready is nil, or why the server is not.
func (r *readiness) ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why
}

// watch checks every second, from when the first state is there until ctx ends.
func (r *readiness) watch(ctx context.Context, first <-chan struct{}) error {
	r.set(errStarting)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-first:
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		r.set(r.check(ctx))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// set tells both doors, and the log when something changed.
func (r *readiness) set(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	if (why == nil) != (r.why == nil) {
		r.log.Info("readiness changed", "ready", why == nil, "why", why)
	}
	r.why = why
	status := grpc_health_v1.HealthCheckResponse_SERVING
	if why != nil {
		status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	r.health.SetServingStatus("", status)
	for _, name := range r.names {
		r.health.SetServingStatus(name, status)
	}
}

// stop says NOT_SERVING for good: a drain has begun (GR8).
func (r *readiness) stop() {
	r.set(errDraining)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.health.Shutdown()
}
