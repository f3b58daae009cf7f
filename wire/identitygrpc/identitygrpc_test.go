package identitygrpc_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/grpcauth"
	"github.com/onbehalf/obo/wire/grpcerr"
	"github.com/onbehalf/obo/wire/identitygrpc"
)

const (
	credential telemetry.Secret = "follower-0123456789abcdef0123456789abcdef"
	idToken    telemetry.Secret = "header.an-id-token.signature"
	alice                       = "user:acme/okta|00u1"
)

// sts is a token server that answers everything with one and the same.
type sts struct {
	subject string
	err     error
	asked   atomic.Int64
	got     atomic.Pointer[[4]string]
}

func (s *sts) Identify(_ context.Context, org delegation.OrgID, token, clientID, nonce string) (string, time.Time, error) {
	s.asked.Add(1)
	s.got.Store(&[4]string{string(org), token, clientID, nonce})
	return s.subject, time.Unix(1_900_000_000, 0), s.err
}

// serve serves each under the address of its name, guarded as in production, and returns the way to them.
func serve(t *testing.T, servers map[string]*sts) func(context.Context, string) (net.Conn, error) {
	t.Helper()
	guard, err := grpcauth.New(grpcauth.Config{Bearer: map[string]telemetry.Secret{obov1.IdentityService_ServiceDesc.ServiceName: credential}})
	if err != nil {
		t.Fatal(err)
	}
	listeners := map[string]*bufconn.Listener{}
	for address, s := range servers {
		g := grpcerr.NewServer(grpc.ChainUnaryInterceptor(grpcerr.Unary(slog.New(slog.DiscardHandler)), guard.Unary), grpc.WaitForHandlers(true))
		identitygrpc.Register(g, s)
		listener := bufconn.Listen(1 << 16)
		listeners[address] = listener
		done := make(chan error, 1)
		go func() { done <- g.Serve(listener) }()
		t.Cleanup(func() {
			g.Stop()
			if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				t.Errorf("Serve: %v", err)
			}
		})
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		if l := listeners[address]; l != nil {
			return l.DialContext(ctx)
		}
		return nil, errors.New("connection refused")
	}
}

func client(dial func(context.Context, string) (net.Conn, error), addresses ...string) identitygrpc.Client {
	c := identitygrpc.Client{Token: func() (telemetry.Secret, error) { return credential, nil }, Dial: dial}
	for _, a := range addresses {
		c.Endpoints = append(c.Endpoints, identitygrpc.Endpoint{Address: a})
	}
	return c
}

func ask(t *testing.T, c identitygrpc.Client) (string, error) {
	t.Helper()
	return c.Identify(t.Context(), "acme", idToken, "pages", "a-nonce")
}

// TestIdentify: the first server that knows has the word, a refusal included; what is no such word is passed over. No error holds
// the ID token or the credential.
func TestIdentify(t *testing.T) {
	t.Parallel()
	refused := grpcerr.Error{Reason: grpcerr.SubjectTokenInvalid, Field: "id_token", Description: "id_token does not prove who signed in"}
	malformed, away := grpcerr.Error{Reason: grpcerr.InvalidRequest}, grpcerr.Error{Reason: grpcerr.DependencyUnavailable}
	busy := grpcerr.Error{Reason: grpcerr.RateLimited}
	for name, one := range map[string]struct {
		servers []*sts // nil: nobody listens
		subject string
		want    error
	}{
		"known":                        {servers: []*sts{{subject: alice}}, subject: alice},
		"GR4 refused":                  {servers: []*sts{{err: refused}, {subject: alice}}, want: identitygrpc.ErrRefused},
		"too long":                     {servers: []*sts{{err: malformed}, {subject: alice}}, want: identitygrpc.ErrRefused},
		"nobody listens at the first":  {servers: []*sts{nil, {subject: alice}}, subject: alice},
		"a dependency is away":         {servers: []*sts{{err: away}, {subject: alice}}, subject: alice},
		"busy":                         {servers: []*sts{{err: busy}, {err: refused}}, want: identitygrpc.ErrRefused},
		"a bug":                        {servers: []*sts{{err: errors.New("a bug")}, {subject: alice}}, subject: alice},
		"a proxy's INVALID_ARGUMENT":   {servers: []*sts{{err: status.Error(codes.InvalidArgument, "no")}}, want: identitygrpc.ErrUnavailable},
		"nobody listens":               {servers: []*sts{nil, nil}, want: identitygrpc.ErrUnavailable},
		"no server":                    {want: identitygrpc.ErrUnavailable},
		"a user of another org":        {servers: []*sts{{subject: "user:globex/okta|00u1"}}, want: identitygrpc.ErrUnavailable},
		"a service account":            {servers: []*sts{{subject: "service:acme/report"}}, want: identitygrpc.ErrUnavailable},
		"nobody":                       {servers: []*sts{{}}, want: identitygrpc.ErrUnavailable},
		"another org's, then the user": {servers: []*sts{{subject: "user:globex/okta|00u1"}, {subject: alice}}, subject: alice},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listening, addresses := map[string]*sts{}, []string{}
			for i, s := range one.servers {
				addresses = append(addresses, "sts-"+string(rune('a'+i))+":1")
				if s != nil {
					listening[addresses[i]] = s
				}
			}
			got, err := ask(t, client(serve(t, listening), addresses...))
			if got != one.subject || !errors.Is(err, one.want) || errors.Is(err, identitygrpc.ErrRefused) && errors.Is(err, identitygrpc.ErrUnavailable) {
				t.Fatalf("%q, %v; want %q, %v", got, err, one.subject, one.want)
			}
			for _, secret := range []telemetry.Secret{idToken, credential} {
				if err != nil && strings.Contains(err.Error(), secret.Reveal()) {
					t.Errorf("the error holds a secret: %v", err)
				}
			}
		})
	}
}

// TestQuestionArrives: every field reaches the token server as it was asked.
func TestQuestionArrives(t *testing.T) {
	t.Parallel()
	s := &sts{subject: alice}
	if _, err := ask(t, client(serve(t, map[string]*sts{"a:1": s}), "a:1")); err != nil {
		t.Fatal(err)
	}
	if want := [4]string{"acme", idToken.Reveal(), "pages", "a-nonce"}; *s.got.Load() != want {
		t.Errorf("asked %v, want %v", *s.got.Load(), want)
	}
}

// TestCallers: GR1. Only the caller's own credential is UNAUTHENTICATED, and without it nobody is asked.
func TestCallers(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]telemetry.Secret{"none": "", "another": "x", "a part": credential[1:]} {
		s := &sts{subject: alice}
		c := client(serve(t, map[string]*sts{"a:1": s}), "a:1")
		c.Token = func() (telemetry.Secret, error) { return wrong, nil }
		if got, err := ask(t, c); got != "" || !errors.Is(err, identitygrpc.ErrUnavailable) || !strings.Contains(err.Error(), "Unauthenticated") ||
			s.asked.Load() != 0 {
			t.Errorf("%s: %q, %v, asked %d times", name, got, err, s.asked.Load())
		}
	}
	s, gone := &sts{subject: alice}, errors.New("no such file")
	c := client(serve(t, map[string]*sts{"a:1": s}), "a:1")
	c.Token = func() (telemetry.Secret, error) { return "", gone }
	if _, err := ask(t, c); !errors.Is(err, identitygrpc.ErrUnavailable) || !errors.Is(err, gone) || s.asked.Load() != 0 {
		t.Errorf("no credential at hand: %v", err)
	}
}

// TestAnswers: GR1, GR4. What a caller of the service sees, by code.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		org  string
		err  error
		code codes.Code
	}{
		"known":        {"acme", nil, codes.OK},
		"no org":       {"", nil, codes.InvalidArgument},
		"no org's id":  {"Acme/x", nil, codes.InvalidArgument},
		"the platform": {"_platform", nil, codes.InvalidArgument},
		"GR4 refused":  {"acme", grpcerr.Error{Reason: grpcerr.SubjectTokenInvalid, Field: "id_token"}, codes.InvalidArgument},
		"away":         {"acme", grpcerr.Error{Reason: grpcerr.DependencyUnavailable}, codes.Unavailable},
		"a bug":        {"acme", errors.New("a bug"), codes.Internal},
	} {
		s := &sts{subject: alice, err: one.err}
		conn, err := grpc.NewClient("passthrough:///a:1", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(serve(t, map[string]*sts{"a:1": s})))
		if err != nil {
			t.Fatal(err)
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+credential.Reveal())
		got, err := obov1.NewIdentityServiceClient(conn).Identify(ctx, &obov1.IdentifyRequest{OrgId: one.org, IdToken: "x", ClientId: "c", Nonce: "n"})
		if status.Code(err) != one.code || err == nil && (got.GetSubject() != alice || got.GetExpiry().GetSeconds() != 1_900_000_000) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		_ = conn.Close()
	}
}
