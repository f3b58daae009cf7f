package client_test

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/client"
)

// resource is a gRPC server that remembers the metadata of each call.
type resource struct {
	grpc_health_v1.UnimplementedHealthServer
	mu     sync.Mutex
	seen   []metadata.MD
	answer func(ctx context.Context, n int) error
}

func (r *resource) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	r.mu.Lock()
	r.seen = append(r.seen, md)
	n := len(r.seen)
	r.mu.Unlock()
	if r.answer != nil {
		if err := r.answer(ctx, n); err != nil {
			return nil, err
		}
	}
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

// dial connects to r with the credentials of c, on loopback in the clear.
func dial(t *testing.T, r *resource, c *client.Client, opts ...grpc.DialOption) (grpc_health_v1.HealthClient, string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, r)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(c.PerRPC(request)), grpc.WithUnaryInterceptor(c.Unary))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return grpc_health_v1.NewHealthClient(conn), l.Addr().String()
}

func check(t *testing.T, h grpc_health_v1.HealthClient) error {
	t.Helper()
	_, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	return err
}

func TestPerRPC(t *testing.T) {
	t.Parallel()
	bound := func(c *client.Config) { c.DPoP = prover{} }
	t.Run("a bearer token on each call, from one exchange", func(t *testing.T) {
		t.Parallel()
		s, r := &sts{answer: issue(300)}, &resource{}
		h, _ := dial(t, r, newClient(t, s, nil))
		for range 3 {
			if err := check(t, h); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.seen[2].Get("authorization"); !slices.Equal(got, []string{"Bearer opaque 1"}) || len(s.requests()) != 1 {
			t.Errorf("sent %v after %d exchanges", got, len(s.requests()))
		}
	})
	t.Run("DP10 a bound token goes with a proof for the method's URL", func(t *testing.T) {
		t.Parallel()
		r := &resource{}
		h, address := dial(t, r, newClient(t, &sts{answer: issue(300)}, bound))
		if err := check(t, h); err != nil {
			t.Fatal(err)
		}
		want := "POST|http://" + address + "/grpc.health.v1.Health/Check||opaque 1"
		if got := r.seen[0].Get("dpop"); !slices.Equal(got, []string{want}) ||
			r.seen[0].Get("authorization")[0] != "DPoP opaque 1" {
			t.Errorf("sent %v", r.seen[0])
		}
	})
	t.Run("DP4 a call that lacks the nonce is made once more", func(t *testing.T) {
		t.Parallel()
		r := &resource{answer: func(ctx context.Context, n int) error {
			if n > 1 {
				return nil
			}
			_ = grpc.SetTrailer(ctx, metadata.Pairs("dpop-nonce", "n-1"))
			return status.Error(codes.Unauthenticated, "use a nonce")
		}}
		h, _ := dial(t, r, newClient(t, &sts{answer: issue(300)}, bound))
		if err := check(t, h); err != nil {
			t.Fatal(err)
		}
		if len(r.seen) != 2 || !strings.Contains(r.seen[1].Get("dpop")[0], "|n-1|") {
			t.Errorf("sent %v", r.seen)
		}
	})
	t.Run("DP4 and no more than once", func(t *testing.T) {
		t.Parallel()
		r := &resource{answer: func(ctx context.Context, _ int) error {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("dpop-nonce", "n-1"))
			return status.Error(codes.Unauthenticated, "use a nonce")
		}}
		h, _ := dial(t, r, newClient(t, &sts{answer: issue(300)}, bound))
		if err := check(t, h); status.Code(err) != codes.Unauthenticated || len(r.seen) != 2 {
			t.Errorf("%v after %d calls", err, len(r.seen))
		}
	})
	t.Run("TX20 no token in the clear to another machine", func(t *testing.T) {
		t.Parallel()
		s, r := &sts{answer: issue(300)}, &resource{}
		h, _ := dial(t, r, newClient(t, s, nil), grpc.WithAuthority("executor.example"))
		if err := check(t, h); status.Code(err) != codes.Unauthenticated || len(r.seen) != 0 || len(s.requests()) != 0 {
			t.Errorf("%v, %d calls, %d exchanges", err, len(r.seen), len(s.requests()))
		}
	})
	for _, v := range []struct {
		name   string
		answer reply
		want   codes.Code
	}{
		{"GR1 a token server that is away is UNAVAILABLE, not a bad credential",
			refuse(http.StatusServiceUnavailable, "temporarily_unavailable"), codes.Unavailable},
		{"GR1 a refused exchange is UNAUTHENTICATED", refuse(http.StatusBadRequest, "invalid_scope"), codes.Unauthenticated},
		{"TX13 a token that is no access token is not sent", reply{status: 200,
			body: `{"access_token":"x","token_type":"N_A","expires_in":300}`}, codes.Unauthenticated},
		{"DP5 a bound token without its key is not sent", reply{status: 200,
			body: `{"access_token":"x","token_type":"DPoP","expires_in":300}`}, codes.Unauthenticated},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			r := &resource{}
			h, _ := dial(t, r, newClient(t, &sts{answer: func(int, seen) reply { return v.answer }}, nil))
			if err := check(t, h); status.Code(err) != v.want || len(r.seen) != 0 {
				t.Errorf("%v after %d calls", err, len(r.seen))
			}
		})
	}
}
