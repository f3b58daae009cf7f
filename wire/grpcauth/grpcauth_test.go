package grpcauth

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/telemetry"
)

const (
	operator = "operator-0123456789abcdef0123456789abcdef"
	follower = "follower-0123456789abcdef0123456789abcdef"
)

type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s stream) Context() context.Context { return s.ctx }

func guard(t *testing.T) *Guard {
	t.Helper()
	g, err := New(Config{
		Bearer: map[string]telemetry.Secret{"obo.v1.AdminService": operator, "obo.v1.FeedService": follower},
		Open:   []string{"obo.v1.ExchangeService"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGuard(t *testing.T) {
	t.Parallel()
	g := guard(t)
	const admin, feed = "/obo.v1.AdminService/Apply", "/obo.v1.FeedService/Watch"
	tests := []struct {
		name, method  string
		authorization []string
		passes        bool
	}{
		{"operator", admin, []string{"Bearer " + operator}, true},
		{"scheme in any case (RFC 9110 §11.1)", admin, []string{"bEARER " + operator}, true},
		{"follower", feed, []string{"Bearer " + follower}, true},
		{"an open service", "/obo.v1.ExchangeService/Exchange", nil, true},
		{"nothing", admin, nil, false},
		{"empty", admin, []string{""}, false},
		{"empty credential", admin, []string{"Bearer "}, false},
		{"no scheme", admin, []string{operator}, false},
		{"another scheme", admin, []string{"Basic " + operator}, false},
		{"a follower as operator", admin, []string{"Bearer " + follower}, false},
		{"an operator as follower", feed, []string{"Bearer " + operator}, false},
		{"a prefix", admin, []string{"Bearer " + operator[:len(operator)-1]}, false},
		{"longer", admin, []string{"Bearer " + operator + "x"}, false},
		{"two spaces", admin, []string{"Bearer  " + operator}, false},
		{"two values", admin, []string{"Bearer " + operator, "Bearer " + operator}, false},
		{"a service that nobody listed", "/obo.v1.NewService/Do", []string{"Bearer " + operator}, false},
		{"its name as a prefix", "/obo.v1.ExchangeServiceX/Do", nil, false},
		{"no service", "", []string{"Bearer " + operator}, false},
	}
	for _, tt := range tests {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.MD{"authorization": tt.authorization})
		called := 0
		_, unary := g.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: tt.method},
			func(context.Context, any) (any, error) { called++; return nil, nil })
		streamed := g.Stream(nil, stream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: tt.method},
			func(any, grpc.ServerStream) error { called++; return nil })
		for _, err := range []error{unary, streamed} {
			if tt.passes != (err == nil) {
				t.Errorf("%s: %v", tt.name, err)
			}
			if err != nil {
				checkStatus(t, tt.name, err)
			}
		}
		if want := map[bool]int{true: 2}[tt.passes]; called != want {
			t.Errorf("%s: %d calls came through, want %d", tt.name, called, want)
		}
	}
}

// checkStatus holds GR1 and GR2: UNAUTHENTICATED with exactly one ErrorInfo, which repeats nothing that was sent.
func checkStatus(t *testing.T, name string, err error) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != codes.Unauthenticated || len(s.Details()) != 1 {
		t.Fatalf("%s: %v with %d details", name, s.Code(), len(s.Details()))
	}
	info, ok := s.Details()[0].(*errdetails.ErrorInfo)
	if !ok || info.GetReason() != "INVALID_TOKEN" || info.GetDomain() != "obo.dev" {
		t.Errorf("%s: detail %v", name, s.Details()[0])
	}
	if strings.Contains(s.Proto().String(), "0123456789abcdef") {
		t.Errorf("%s: the error repeats a credential", name)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"nothing guarded":  {Open: []string{"s"}},
		"short credential": {Bearer: map[string]telemetry.Secret{"s": "hunter2"}},
		"no credential":    {Bearer: map[string]telemetry.Secret{"s": ""}},
		"both":             {Bearer: map[string]telemetry.Secret{"s": operator}, Open: []string{"s"}},
	} {
		if g, err := New(c); err == nil || g != nil {
			t.Errorf("%s: %v, %v", name, g, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error holds the credential", name)
		}
	}
}

// TestReplace: another credential is in force at once and the one before is refused; what would leave a service without one, or
// with one that can be guessed, changes nothing.
func TestReplace(t *testing.T) {
	t.Parallel()
	const next = "next-operator-0123456789abcdef0123456789"
	g := guard(t)
	passes := func(credential string) bool {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+credential))
		_, err := g.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/obo.v1.AdminService/Apply"},
			func(context.Context, any) (any, error) { return nil, nil })
		return err == nil
	}
	for name, bad := range map[string]map[string]telemetry.Secret{
		"too short":             {"obo.v1.AdminService": "short", "obo.v1.FeedService": follower},
		"a service fewer":       {"obo.v1.AdminService": next},
		"a service that is new": {"obo.v1.AdminService": next, "obo.v1.ExchangeService": follower},
		"none":                  nil,
	} {
		if err := g.Replace(bad); err == nil || !passes(operator) || passes(next) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := g.Replace(map[string]telemetry.Secret{"obo.v1.AdminService": next, "obo.v1.FeedService": follower}); err != nil {
		t.Fatal(err)
	}
	if passes(operator) || !passes(next) {
		t.Error("the credential before is still in force")
	}
}
