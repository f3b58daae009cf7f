package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/onbehalf/obo/wire/grpcerr"
)

var (
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
)

// Health keeps what the health pages of both doors say: whether the server can do its work, and not merely that it is there.
type Health struct {
	server *health.Server
	first  <-chan struct{}
	check  func(ctx context.Context) error
	log    *slog.Logger

	closing context.Context // ends when the doors are about to close
	cut     context.CancelFunc

	mu       sync.Mutex
	names    []string // of the gRPC services
	why      error    // nil when ready
	draining bool
}

// NewHealth returns the health of a server that is starting. From when first is closed, check says every second whether the
// server can do its work: nil, or why not.
func NewHealth(first <-chan struct{}, check func(ctx context.Context) error, log *slog.Logger) *Health {
	h := &Health{server: health.NewServer(), first: first, check: check, log: log, why: errStarting}
	h.closing, h.cut = context.WithCancel(context.Background())
	return h
}

// Ready is nil, or why the server is not.
func (h *Health) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.why
}

// start says NOT_SERVING of every service.
func (h *Health) start(services []string) {
	h.names = append(services, "") // "" is the whole server
	h.set(errStarting)
}

// watch checks until ctx ends.
func (h *Health) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-h.first:
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		h.set(h.check(ctx))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// set changes what is said, unless a drain has begun.
func (h *Health) set(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.draining {
		h.say(why)
	}
}

// drain says NOT_SERVING for good (GR8).
func (h *Health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
	h.say(errDraining)
}

// parting asks every HTTP client of a server that drains to come by another connection, which then leads to another server.
// To close what is idle would not do: a request may be on its way there.
func (h *Health) parting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if errors.Is(h.Ready(), errDraining) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// say tells both doors, and the log when something changed.
func (h *Health) say(why error) {
	if (why == nil) != (h.why == nil) {
		h.log.Info("readiness changed", "ready", why == nil, "why", why)
	}
	h.why = why
	status := grpc_health_v1.HealthCheckResponse_SERVING
	if why != nil {
		status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	for _, name := range h.names {
		h.server.SetServingStatus(name, status)
	}
}

// untilClose is a grpc.StreamServerInterceptor that ends streams when the doors are about to close: a feed, an audit tail or a
// health watch never ends by itself, and a graceful stop would wait for it until its bound. Followers go to another replica. Not
// before: whoever spreads the load may still send a follower back to this one.
func (h *Health) untilClose(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	defer context.AfterFunc(h.closing, cancel)()
	err := next(srv, drained{ss, ctx})
	if h.closing.Err() != nil {
		return grpcerr.Error{Reason: grpcerr.DependencyUnavailable, RetryAfter: time.Second, Description: "the server is draining"}
	}
	return err
}

type drained struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the stream or when the doors are about to close.
func (s drained) Context() context.Context { return s.ctx }
