package grpcerr

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that ours stands on
	"google.golang.org/grpc/mem"
)

// Server is a gRPC server whose services answer a message that is no protobuf, or that holds invalid UTF-8, with the caller's
// INVALID_ARGUMENT and an ErrorInfo. grpc-go alone calls it INTERNAL, which is our fault and pages somebody (GR1, GR5).
type Server struct{ *grpc.Server }

// NewServer is grpc.NewServer.
func NewServer(options ...grpc.ServerOption) Server {
	return Server{grpc.NewServer(append(options, grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")}))...)}
}

// received is a message on its way in, with what was wrong with it.
type received struct {
	message any
	err     error
}

type codec struct{ encoding.CodecV2 }

// Unmarshal keeps the error for whoever asked: grpc-go would answer with it at once.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*received)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	r.err = c.CodecV2.Unmarshal(data, r.message)
	return nil
}

// RegisterService implements grpc.ServiceRegistrar.
func (s Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		handler := m.Handler
		m.Handler = func(srv any, ctx context.Context, decode func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
			return handler(srv, ctx, func(v any) error { return receive(decode, v) }, i)
		}
		d.Methods[i] = m
	}
	s.Server.RegisterService(&d, impl)
}

func receive(decode func(any) error, v any) error {
	r := received{message: v}
	if err := decode(&r); err != nil {
		return err
	}
	if r.err != nil {
		return Error{Reason: InvalidRequest, Field: "message", Description: "the message is not a valid protobuf of its type"}
	}
	return nil
}
