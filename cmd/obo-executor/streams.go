package main

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/wire/grpcerr"
)

// streams ends the long-lived streams (feed, audit tail, health watch) when a drain begins; a graceful stop would wait for
// them until its bound.
type streams struct {
	draining context.Context
	end      context.CancelFunc
}

func newStreams() streams {
	draining, end := context.WithCancel(context.Background())
	return streams{draining: draining, end: end}
}

// intercept is a grpc.StreamServerInterceptor.
func (s streams) intercept(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	defer context.AfterFunc(s.draining, cancel)()
	err := next(srv, drainedStream{ss, ctx})
	if s.draining.Err() != nil {
		return grpcerr.Error{Reason: grpcerr.DependencyUnavailable, RetryAfter: time.Second, Description: "the server is draining"}
	}
	return err
}

type drainedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the stream or with the drain.
func (s drainedStream) Context() context.Context { return s.ctx }
