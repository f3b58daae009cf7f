package feedgrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// Client is the feed of one address: a revocation.Feed.
//
// Each stream has a connection of its own, made when it is opened and closed with it. A connection that lived on would be
// tried again when it is dead and nobody has told (a peer that lost its power, a NAT that forgot), and one that could not be
// made would wait out grpc-go's growing pauses, for minutes, while the server is back.
type Client struct {
	Address string // host:port
	// TLS says whom to trust. Without it the credential travels in the clear: only for a loopback address.
	TLS *tls.Config
	// Token returns the follower credential. It is asked for each stream, so that a new one takes effect.
	Token func() (telemetry.Secret, error)
	// Dial connects instead of the network, for tests. Optional.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// maxMessage bounds one message: the largest policy bundle, with room to spare.
const maxMessage = 16 << 20

// Open opens a stream that lives until ctx ends.
func (c Client) Open(ctx context.Context, h revocation.Hello) (revocation.Stream, error) {
	token, err := c.Token()
	if err != nil {
		return nil, fmt.Errorf("feedgrpc: %w", err)
	}
	transport := insecure.NewCredentials()
	if c.TLS != nil {
		transport = credentials.NewTLS(c.TLS)
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(transport), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithPerRPCCredentials(credential{token: token, plaintext: c.TLS == nil}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage))}
	if c.Dial != nil {
		options = append(options, grpc.WithContextDialer(c.Dial))
	}
	conn, err := grpc.NewClient("passthrough:///"+c.Address, options...)
	if err != nil {
		return nil, fmt.Errorf("feedgrpc: %w", err)
	}
	s, err := obov1.NewFeedServiceClient(conn).Follow(ctx)
	if err == nil {
		err = s.Send(&obov1.FollowRequest{Event: &obov1.FollowRequest_Hello{Hello: hello(h)}})
	}
	if errors.Is(err, io.EOF) { // the server has ended the stream already, and only Recv knows why
		_, err = s.Recv()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("feedgrpc: %s: %w", c.Address, err)
	}
	return &stream{stream: s, conn: conn, address: c.Address}, nil
}

func hello(h revocation.Hello) *obov1.Hello {
	out := &obov1.Hello{Name: h.Name, Instance: h.Instance, StaleAfter: durationpb.New(h.StaleAfter), Policies: h.Policies}
	if h.After != (revocation.Position{}) {
		out.After = place(h.After)
	}
	return out
}

// credential is a bearer credential. grpc-go refuses to send it without transport security unless plaintext is set.
type credential struct {
	token     telemetry.Secret
	plaintext bool
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c credential) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + c.token.Reveal()}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (c credential) RequireTransportSecurity() bool { return !c.plaintext }

// stream turns messages into what a follower takes. What it does not understand is an error and not passed over: a
// follower that skips a kind of revocation would honour what is revoked.
type stream struct {
	stream  obov1.FeedService_FollowClient
	conn    *grpc.ClientConn
	address string
}

var errMessage = errors.New("feedgrpc: message is malformed or of a newer server")

// Recv implements revocation.Stream.
func (s *stream) Recv() (revocation.Message, error) {
	in, err := s.stream.Recv()
	if err != nil {
		return revocation.Message{}, fmt.Errorf("feedgrpc: %s: %w", s.address, err)
	}
	return message(in)
}

// Confirm implements revocation.Stream.
func (s *stream) Confirm(c revocation.Confirmation) error {
	err := s.stream.Send(&obov1.FollowRequest{Event: &obov1.FollowRequest_Confirm{Confirm: &obov1.Confirm{
		Sequence: c.Sequence, Stopped: uint32(min(c.Stopped, math.MaxUint32))}}})
	if err != nil {
		return fmt.Errorf("feedgrpc: %s: %w", s.address, err)
	}
	return nil
}

// Close implements revocation.Stream.
func (s *stream) Close() { _ = s.conn.Close() }

func message(in *obov1.FollowResponse) (revocation.Message, error) {
	p := in.GetPosition()
	out := revocation.Message{Position: revocation.Position{Sequence: p.GetSequence(), Mark: p.GetMark()}}
	switch e := in.GetEvent().(type) {
	case *obov1.FollowResponse_Opening:
		out.Opening = &revocation.Opening{Resumed: e.Opening.GetResumed()}
	case *obov1.FollowResponse_Revocations:
		entries := e.Revocations.GetRevocations()
		out.Revocations = make([]store.Revocation, len(entries))
		for i, r := range entries {
			var err error
			if out.Revocations[i], err = entry(r); err != nil {
				return revocation.Message{}, err
			}
		}
	case *obov1.FollowResponse_Policy:
		org, err := delegation.ParseOrgID(e.Policy.GetOrgId())
		if err != nil {
			return revocation.Message{}, fmt.Errorf("%w: policy: %w", errMessage, err)
		}
		out.Policy = &revocation.Policy{Org: org, Version: e.Policy.GetVersion(), Document: e.Policy.GetDocument(),
			Deleted: e.Policy.GetDeleted(), Unreadable: e.Policy.GetUnreadable()}
	case *obov1.FollowResponse_Current:
		out.Current = true
	case *obov1.FollowResponse_Heartbeat:
		if !valid(e.Heartbeat.GetAt()) {
			return revocation.Message{}, fmt.Errorf("%w: heartbeat without a time", errMessage)
		}
		out.Heartbeat = e.Heartbeat.GetAt().AsTime()
	default:
		return revocation.Message{}, fmt.Errorf("%w: unknown event", errMessage)
	}
	return out, nil
}

func entry(r *obov1.Revocation) (store.Revocation, error) {
	kind, err := revocation.ParseKind(r.GetKind())
	if err != nil {
		return store.Revocation{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	org, err := delegation.ParseOrgID(r.GetOrgId())
	if len(r.ProtoReflect().GetUnknown()) > 0 || r.GetDeparted() && kind != revocation.Subject {
		return store.Revocation{}, fmt.Errorf("%w: a revocation that says more than is known here", errMessage)
	}
	if kind == revocation.Key { // those of the operator, who has no org
		org, err = store.PlatformOrg, nil
	}
	if err != nil || r.GetOrgId() != string(org) || r.GetId() == "" || r.GetSince() != nil && !valid(r.GetSince()) ||
		!valid(r.GetBefore()) || !valid(r.GetUntil()) {
		return store.Revocation{}, fmt.Errorf("%w: incomplete revocation", errMessage)
	}
	out := store.Revocation{Org: org, Kind: string(kind), ID: r.GetId(), Scope: r.GetScope(), Reason: r.GetReason(),
		Before: r.GetBefore().AsTime(), Until: r.GetUntil().AsTime(), Departed: r.GetDeparted()}
	if r.GetSince() != nil {
		out.Since = r.GetSince().AsTime()
	}
	return out, nil
}

// valid refuses an absent time, which would be 1970, and the zero time, which means absent to us.
func valid(t *timestamppb.Timestamp) bool { return t != nil && t.IsValid() && !t.AsTime().IsZero() }
