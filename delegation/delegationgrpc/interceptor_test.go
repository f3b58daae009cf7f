package delegationgrpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationgrpc"
	"github.com/onbehalf/obo/delegation/delegationtest"
)

// revocations is a fake whose answer a test sets.
type revocations struct{ answer atomic.Pointer[error] }

func (r *revocations) CheckKey(string, time.Time) error { return nil }

func (r *revocations) Check(*delegation.Claims, time.Time) error {
	if err := r.answer.Load(); err != nil {
		return *err
	}
	return nil
}

func (r *revocations) say(err error) { r.answer.Store(&err) }

// serve starts a server with one unary and one streaming method, both of which answer to the verified actor alone, and
// with the health service.
func serve(t *testing.T, i *delegationtest.Issuer, r delegation.Revocations) *grpc.ClientConn {
	t.Helper()
	v, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: i.URL(), Audience: delegationtest.Audience, Keys: delegation.StaticKeys(i.Keys()), Revocations: r,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(delegationgrpc.Unary(v)), grpc.StreamInterceptor(delegationgrpc.Stream(v)))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Service",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
		Streams:     []grpc.StreamDesc{{StreamName: "Stream", Handler: stream, ServerStreams: true, ClientStreams: true}},
	}, struct{}{})
	healthpb.RegisterHealthServer(server, health.NewServer())
	listener := bufconn.Listen(1 << 16)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func actorOf(ctx context.Context) error {
	v, err := delegationgrpc.RequireScope(ctx, "issues:read")
	if err == nil && v.Actor() != "agent:acme/researcher" {
		return fmt.Errorf("the actor is %q", v.Actor())
	}
	return err
}

func unary(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	in := &emptypb.Empty{}
	if err := decode(in); err != nil {
		return nil, err
	}
	return interceptor(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/test.Service/Unary"}, func(ctx context.Context, in any) (any, error) {
		return in, actorOf(ctx)
	})
}

// stream echoes until it may not.
func stream(_ any, s grpc.ServerStream) error {
	if err := actorOf(s.Context()); err != nil {
		return err
	}
	for {
		in := &emptypb.Empty{}
		if err := s.RecvMsg(in); err != nil {
			return err
		}
		if err := s.SendMsg(in); err != nil {
			return err
		}
	}
}

func callUnary(ctx context.Context, conn *grpc.ClientConn) error {
	return conn.Invoke(ctx, "/test.Service/Unary", &emptypb.Empty{}, &emptypb.Empty{})
}

func openStream(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Service/Stream")
}

func echo(s grpc.ClientStream) error {
	if err := s.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) { // EOF: RecvMsg has the status
		return err
	}
	return s.RecvMsg(&emptypb.Empty{})
}

func callStream(ctx context.Context, conn *grpc.ClientConn) error {
	s, err := openStream(ctx, conn)
	if err != nil {
		return err
	}
	return echo(s)
}

// TestInterceptors: both kinds of call, every way to be refused, and exactly one ErrorInfo in each (GR2, GR3).
func TestInterceptors(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	good := i.Token(t, nil)
	unavailable := fmt.Errorf("%w: stale", delegation.ErrUnavailable)
	for name, c := range map[string]struct {
		authorization []string
		revocations   error
		code          codes.Code
		reason, oauth string
	}{
		"good":              {[]string{"Bearer " + good}, nil, codes.OK, "", ""},
		"good, other case":  {[]string{"bEARER " + good}, nil, codes.OK, "", ""},
		"none":              {nil, nil, codes.Unauthenticated, "INVALID_TOKEN", "invalid_token"},
		"empty":             {[]string{""}, nil, codes.Unauthenticated, "INVALID_TOKEN", "invalid_request"},
		"no token":          {[]string{"Bearer "}, nil, codes.Unauthenticated, "INVALID_TOKEN", "invalid_request"},
		"basic":             {[]string{"Basic " + good}, nil, codes.Unauthenticated, "INVALID_TOKEN", "invalid_request"},
		"DPoP":              {[]string{"DPoP " + good}, nil, codes.Unauthenticated, "INVALID_TOKEN", "invalid_request"},
		"two":               {[]string{"Bearer " + good, "Bearer " + good}, nil, codes.Unauthenticated, "INVALID_TOKEN", "invalid_request"},
		"malformed":         {[]string{"Bearer x"}, nil, codes.Unauthenticated, "INVALID_TOKEN", "invalid_token"},
		"another audience":  {[]string{"Bearer " + i.Token(t, func(c *delegation.Claims) { c.Audience = "https://x" })}, nil, codes.Unauthenticated, "INVALID_TOKEN", "invalid_token"},
		"revoked":           {[]string{"Bearer " + good}, delegation.ErrRevoked, codes.Unauthenticated, "INVALID_TOKEN", "invalid_token"},
		"cannot be known":   {[]string{"Bearer " + good}, unavailable, codes.Unavailable, "DEPENDENCY_UNAVAILABLE", "temporarily_unavailable"},
		"without the scope": {[]string{"Bearer " + i.Token(t, func(c *delegation.Claims) { c.Scope = delegation.Scopes{} })}, nil, codes.PermissionDenied, "INSUFFICIENT_SCOPE", "insufficient_scope"},
	} {
		for kind, call := range map[string]func(context.Context, *grpc.ClientConn) error{"unary": callUnary, "stream": callStream} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				r := &revocations{}
				r.say(c.revocations)
				ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{"authorization": c.authorization})
				wantStatus(t, call(ctx, serve(t, i, r)), c.code, c.reason, c.oauth)
			})
		}
	}
}

func wantStatus(t *testing.T, err error, code codes.Code, reason, oauth string) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	if code == codes.OK {
		return
	}
	var infos []*errdetails.ErrorInfo
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			infos = append(infos, info)
		}
	}
	if len(infos) != 1 || infos[0].GetReason() != reason || infos[0].GetDomain() != "obo.dev" || infos[0].GetMetadata()["oauthError"] != oauth {
		t.Errorf("details are %v", s.Details())
	}
}

// TestStreamIsVerifiedAgain: a revocation ends an open stream with the next message.
func TestStreamIsVerifiedAgain(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	r := &revocations{}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+i.Token(t, nil))
	s, err := openStream(ctx, serve(t, i, r))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := echo(s); err != nil {
			t.Fatal(err)
		}
	}
	r.say(delegation.ErrRevoked)
	wantStatus(t, echo(s), codes.Unauthenticated, "INVALID_TOKEN", "invalid_token")
}

// TestHealthNeedsNoToken (GR8).
func TestHealthNeedsNoToken(t *testing.T) {
	t.Parallel()
	conn := serve(t, delegationtest.NewIssuer(t), delegation.NoRevocations)
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Error(err)
	}
}

// TestRequireScopeWithoutToken: outside the interceptors there is nobody.
func TestRequireScopeWithoutToken(t *testing.T) {
	t.Parallel()
	_, err := delegationgrpc.RequireScope(t.Context(), "x")
	wantStatus(t, err, codes.Unauthenticated, "INVALID_TOKEN", "invalid_token")
}

func TestNilVerifierPanics(t *testing.T) {
	t.Parallel()
	for name, intercept := range map[string]func(){
		"unary": func() { delegationgrpc.Unary(nil) }, "stream": func() { delegationgrpc.Stream(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s takes everybody", name)
				}
			}()
			intercept()
		}()
	}
}
