package grpcerr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/telemetry"
)

// Unary is the outermost interceptor of a server: a panic or an error that no door meant becomes INTERNAL_ERROR, and goes
// to log with its cause. The client learns nothing of either (libraries send panics and stacks otherwise).
func Unary(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			err = render(ctx, log, info.FullMethod, recover(), err)
			if err != nil {
				resp = nil
			}
		}()
		return next(ctx, req)
	}
}

// Stream is Unary for streams.
func Stream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() { err = render(ss.Context(), log, info.FullMethod, recover(), err) }()
		return next(srv, ss)
	}
}

// render logs what is not for the client, and never a request: its fields are tokens.
func render(ctx context.Context, log *slog.Logger, method string, panicked any, err error) error {
	if panicked != nil {
		log.ErrorContext(ctx, "panic", "method", method, "panic", fmt.Sprint(panicked),
			"stack", string(debug.Stack()), "trace_id", telemetry.TraceID(ctx))
		return Error{Reason: InternalError}
	}
	if strings.HasPrefix(method, "/grpc.") {
		return err // health and reflection are grpc-go's own, and so are their statuses (GR8)
	}
	wire, fault := From(err)
	if e, ok := errors.AsType[Error](err); ok && e.Cause != nil {
		err = e.Cause
	}
	if fault {
		log.ErrorContext(ctx, "call failed", "method", method, "error", err, "trace_id", telemetry.TraceID(ctx))
	}
	return wire
}
