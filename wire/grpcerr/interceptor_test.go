package grpcerr_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/wire/grpcerr"
)

const secret = "eyJhbGciOiJFUzI1NiJ9.canary"

type broken struct {
	obov1.UnimplementedExchangeServiceServer
	obov1.UnimplementedFeedServiceServer
}

func (broken) Exchange(_ context.Context, in *obov1.ExchangeRequest) (*obov1.ExchangeResponse, error) {
	if in.GetScope() == "error" {
		return &obov1.ExchangeResponse{AccessToken: secret}, errors.New(secret)
	}
	panic("broken: " + secret)
}

func (broken) Follow(grpc.BidiStreamingServer[obov1.FollowRequest, obov1.FollowResponse]) error {
	panic(secret)
}

func serve(t *testing.T, log *slog.Logger) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	s := grpcerr.NewServer(grpc.UnaryInterceptor(grpcerr.Unary(log)), grpc.StreamInterceptor(grpcerr.Stream(log)))
	obov1.RegisterExchangeServiceServer(s, broken{})
	obov1.RegisterFeedServiceServer(s, broken{})
	go s.Serve(l)
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestPanicTellsNothing: a library's recovery sends the panic's text and the stack to whoever caused it.
func TestPanicTellsNothing(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	conn := serve(t, slog.New(slog.NewTextHandler(&log, nil)))
	_, unary := obov1.NewExchangeServiceClient(conn).Exchange(t.Context(), &obov1.ExchangeRequest{SubjectToken: "canary-of-the-request"})
	_, failed := obov1.NewExchangeServiceClient(conn).Exchange(t.Context(), &obov1.ExchangeRequest{Scope: "error"})
	stream, err := obov1.NewFeedServiceClient(conn).Follow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, streamed := stream.Recv()
	for name, err := range map[string]error{"unary": unary, "error": failed, "stream": streamed} {
		s := status.Convert(err)
		if s.Code() != codes.Internal || len(s.Details()) != 1 {
			t.Errorf("%s: %s %v", name, s.Code(), s.Details())
		}
		if text := fmt.Sprint(s.Message(), s.Details()); strings.Contains(text, "canary") || strings.Contains(text, ".go:") {
			t.Errorf("%s: the client is told %q", name, text)
		}
	}
	if !strings.Contains(log.String(), "panic=") || !strings.Contains(log.String(), "interceptor_test.go") {
		t.Error("the log lacks the panic or its stack")
	}
	if strings.Contains(log.String(), "canary-of-the-request") {
		t.Error("the log holds the request")
	}
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { return nil }
func (raw) Name() string                       { return "proto" }

var _ encoding.Codec = raw{}

// TestMalformedProtobuf: bytes that are no message are the caller's mistake (GR1), not INTERNAL as grpc-go has it.
func TestMalformedProtobuf(t *testing.T) {
	t.Parallel()
	conn := serve(t, slog.New(slog.DiscardHandler))
	for name, body := range map[string][]byte{
		"no message":    bytes.Repeat([]byte{0xff}, 64),
		"a length lie":  {0x0a, 0xff, 0xff, 0xff, 0x7f, 'x'},
		"invalid UTF-8": {0x3a, 0x02, 0xc3, 0x28},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := conn.Invoke(t.Context(), obov1.ExchangeService_Exchange_FullMethodName, body, new(any), grpc.ForceCodec(raw{}))
			s := status.Convert(err)
			if s.Code() != codes.InvalidArgument || len(s.Details()) != 2 {
				t.Errorf("got %s %q %v, want INVALID_ARGUMENT with ErrorInfo and BadRequest", s.Code(), s.Message(), s.Details())
			}
		})
	}
}
