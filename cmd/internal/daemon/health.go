package daemon

import (
	"context"
	"errors"
	"log/slog"
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

	draining context.Context // ends when a drain begins
	cut      context.CancelFunc

	mu    sync.Mutex
	names []string // of the gRPC services
	why   error    // nil when ready
}

// NewHealth returns the health of a server that is starting. From when first is closed, check says every second whether the
// server can do its work: nil, or why not.
func NewHealth(first <-chan struct{}, check func(ctx context.Context) error, log *slog.Logger) *Health {
	h := &Health{server: health.NewServer(), first: first, check: check, log: log, why: errStarting}
	h.draining, h.cut = context.WithCancel(context.Background())
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
	if h.draining.Err() == nil {
		h.say(why)
	}
}

// drain says NOT_SERVING for good (GR8), and ends every stream.
func (h *Health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.say(errDraining)
	h.cut()
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

// untilDrain is a grpc.StreamServerInterceptor that ends streams when a drain begins: a feed, an audit tail or a health watch
// never ends by itself, and a graceful stop would wait for it until its bound. Followers go to another replica.
func (h *Health) untilDrain(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	defer context.AfterFunc(h.draining, cancel)()
	err := next(srv, drained{ss, ctx})
	if h.draining.Err() != nil {
		return grpcerr.Error{Reason: grpcerr.DependencyUnavailable, RetryAfter: time.Second, Description: "the server is draining"}
	}
	return err
}

type drained struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the stream or when a drain begins.
func (s drained) Context() context.Context { return s.ctx }
