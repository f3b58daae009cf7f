package feedgrpc

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/grpcauth"
)

const token telemetry.Secret = "follower-0123456789abcdef0123456789abcdef"

// dial serves a feed over a connection in memory, guarded as in production.
func dial(t *testing.T, d *db, credential telemetry.Secret) Client {
	t.Helper()
	s, _ := serve(t, d)
	guard, err := grpcauth.New(grpcauth.Config{Bearer: map[string]telemetry.Secret{obov1.FeedService_ServiceDesc.ServiceName: token}})
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.StreamInterceptor(guard.Stream), grpc.WaitForHandlers(true))
	s.Register(server)
	listener := bufconn.Listen(1 << 16)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("Serve: %v", err)
		}
	})
	return Client{Address: "feed:1", Token: func() (telemetry.Secret, error) { return credential, nil },
		Dial: func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }}
}

// TestRevokeToRefusal: from the token server's store, over gRPC, to a verifier's answer.
func TestRevokeToRefusal(t *testing.T) {
	t.Parallel()
	d := &db{}
	d.apply("acme", "1")
	set, told := revocation.NewSet(0), make(chan revocation.Policy, 10)
	follower, err := revocation.NewFollower(revocation.FollowerConfig{Set: set, Log: silent, Name: "test",
		Feeds: []revocation.Feed{dial(t, d, token)}, OnPolicy: func(p revocation.Policy) { told <- p }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- follower.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	<-follower.Ready()
	if p := <-told; p.Org != "acme" || p.Version != "1" || string(p.Document) != `{"version":"1"}` {
		t.Errorf("told %+v", p)
	}
	c := &delegation.Claims{OrgID: "acme", ID: "j2", Lineage: []string{"j1"}, IssuedAt: time.Now().Truncate(time.Second)}
	await(t, "fresh", func() bool { return set.Check(c, time.Now()) == nil })
	start := time.Now()
	d.revoke(revocation.Token, "j1")
	await(t, "refused", func() bool { return errors.Is(set.Check(c, time.Now()), delegation.ErrRevoked) })
	t.Logf("revoke to refusal: %s, by poll", time.Since(start))
}

// await polls a condition that another goroutine brings about.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not %s within 10 s", what)
		}
	}
}

func TestCredential(t *testing.T) {
	t.Parallel()
	recv := func(c Client) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, err := c.Open(ctx, revocation.Hello{Name: "a", Instance: rand.Text(), StaleAfter: time.Second})
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = s.Recv()
		return err
	}
	if err := recv(dial(t, &db{}, token)); err != nil {
		t.Errorf("the follower's credential: %v", err)
	}
	for _, wrong := range []telemetry.Secret{"", "x", token[1:]} {
		if err := recv(dial(t, &db{}, wrong)); status.Code(err) != codes.Unauthenticated {
			t.Errorf("another credential: %v", err)
		}
	}
	gone := dial(t, &db{}, token)
	gone.Token = func() (telemetry.Secret, error) { return "", errAway }
	if err := recv(gone); !errors.Is(err, errAway) {
		t.Errorf("no credential: %v", err)
	}
}

// TestMessagesThatAreRefused: what a follower does not understand it must not skip.
func TestMessagesThatAreRefused(t *testing.T) {
	t.Parallel()
	now := timestamppb.Now()
	good := &obov1.Revocation{Kind: "token", Id: "j", OrgId: "acme", Before: now, Until: now}
	spoil := func(f func(*obov1.Revocation)) *obov1.FollowResponse {
		r := proto.Clone(good).(*obov1.Revocation)
		f(r)
		return &obov1.FollowResponse{Event: &obov1.FollowResponse_Revocations{Revocations: &obov1.Revocations{Revocations: []*obov1.Revocation{r}}}}
	}
	if m, err := message(spoil(func(*obov1.Revocation) {})); err != nil || m.Revocations[0].ID != "j" {
		t.Errorf("a good one: %+v, %v", m, err)
	}
	key := func(r *obov1.Revocation) { r.Kind, r.OrgId = "key", "_platform" }
	if m, err := message(spoil(key)); err != nil || m.Revocations[0].Org != "_platform" {
		t.Errorf("a signing key, which is of no org: %+v, %v", m, err)
	}
	for name, in := range map[string]*obov1.FollowResponse{
		"nothing":            {},
		"kind of the future": spoil(func(r *obov1.Revocation) { r.Kind = "planet" }),
		"no org":             spoil(func(r *obov1.Revocation) { r.OrgId = "" }),
		"no id":              spoil(func(r *obov1.Revocation) { r.Id = "" }),
		"no before":          spoil(func(r *obov1.Revocation) { r.Before = nil }),
		"no until":           spoil(func(r *obov1.Revocation) { r.Until = nil }),
		"impossible before":  spoil(func(r *obov1.Revocation) { r.Before = &timestamppb.Timestamp{Nanos: -1} }),
		"since no time":      spoil(func(r *obov1.Revocation) { r.Since = &timestamppb.Timestamp{Nanos: -1} }),
		"an agent departs":   spoil(func(r *obov1.Revocation) { r.Departed, r.Kind = true, "agent" }),
		"field of the future": spoil(func(r *obov1.Revocation) {
			r.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
		}),
		"an org's signing key": spoil(func(r *obov1.Revocation) { r.Kind = "key" }),
		"no org's token":       spoil(func(r *obov1.Revocation) { r.OrgId = "_platform" }),
		"no revocation":        {Event: &obov1.FollowResponse_Revocations{Revocations: &obov1.Revocations{Revocations: []*obov1.Revocation{nil}}}},
		"policy of nobody":     {Event: &obov1.FollowResponse_Policy{Policy: &obov1.PolicyBundle{}}},
		"heartbeat of no time": {Event: &obov1.FollowResponse_Heartbeat{Heartbeat: &obov1.Heartbeat{}}},
	} {
		if m, err := message(in); !errors.Is(err, errMessage) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}
