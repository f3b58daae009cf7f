package feedgrpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// Client opens feeds. Its method Connect is revocation.FollowerConfig.Connect.
type Client struct {
	Conn grpc.ClientConnInterface // to the token server
	// Token is the follower credential.
	Token telemetry.Secret
	// Plaintext lets the credential travel without TLS. Only for a loopback address.
	Plaintext bool
}

// maxMessage bounds one message: the largest policy bundle, with room to spare.
const maxMessage = 16 << 20

// Connect opens a feed that lives until ctx ends.
func (c Client) Connect(ctx context.Context) (revocation.Stream, error) {
	s, err := obov1.NewFeedServiceClient(c.Conn).Watch(ctx, &obov1.WatchRequest{},
		grpc.PerRPCCredentials(credential{token: c.Token, plaintext: c.Plaintext}), grpc.MaxCallRecvMsgSize(maxMessage))
	if err != nil {
		return nil, fmt.Errorf("feedgrpc: %w", err)
	}
	return stream{s}, nil
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
	grpc.ServerStreamingClient[obov1.WatchResponse]
}

var errMessage = errors.New("feedgrpc: message is malformed or of a newer server")

// Recv implements revocation.Stream.
func (s stream) Recv() (revocation.Message, error) {
	in, err := s.ServerStreamingClient.Recv()
	if err != nil {
		return revocation.Message{}, fmt.Errorf("feedgrpc: %w", err)
	}
	return message(in)
}

func message(in *obov1.WatchResponse) (revocation.Message, error) {
	out := revocation.Message{Sequence: in.GetSequence()}
	switch e := in.GetEvent().(type) {
	case *obov1.WatchResponse_Revocation:
		r, err := entry(e.Revocation)
		if err != nil {
			return revocation.Message{}, err
		}
		out.Revocation = r
	case *obov1.WatchResponse_Policy:
		org, err := delegation.ParseOrgID(e.Policy.GetOrgId())
		if err != nil {
			return revocation.Message{}, fmt.Errorf("%w: policy: %w", errMessage, err)
		}
		out.Policy = &revocation.Policy{Org: org, Version: e.Policy.GetVersion(),
			Document: e.Policy.GetDocument(), Deleted: e.Policy.GetDeleted()}
	case *obov1.WatchResponse_SnapshotComplete:
		out.Complete = true
	case *obov1.WatchResponse_Heartbeat:
		if !valid(e.Heartbeat.GetAt()) {
			return revocation.Message{}, fmt.Errorf("%w: heartbeat without a time", errMessage)
		}
		out.Heartbeat = e.Heartbeat.GetAt().AsTime()
	default:
		return revocation.Message{}, fmt.Errorf("%w: unknown event", errMessage)
	}
	return out, nil
}

func entry(r *obov1.Revocation) (*store.Revocation, error) {
	kind, err := revocation.ParseKind(r.GetKind())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	org, err := delegation.ParseOrgID(r.GetOrgId())
	if len(r.ProtoReflect().GetUnknown()) > 0 || r.GetDeparted() && kind != revocation.Subject {
		return nil, fmt.Errorf("%w: a revocation that says more than is known here", errMessage)
	}
	if kind == revocation.Key { // those of the operator, who has no org
		org, err = store.PlatformOrg, nil
	}
	if err != nil || r.GetOrgId() != string(org) || r.GetId() == "" || r.GetSince() != nil && !valid(r.GetSince()) ||
		!valid(r.GetBefore()) || !valid(r.GetUntil()) {
		return nil, fmt.Errorf("%w: incomplete revocation", errMessage)
	}
	out := &store.Revocation{Org: org, Kind: string(kind), ID: r.GetId(), Scope: r.GetScope(), Reason: r.GetReason(),
		Before: r.GetBefore().AsTime(), Until: r.GetUntil().AsTime(), Departed: r.GetDeparted()}
	if r.GetSince() != nil {
		out.Since = r.GetSince().AsTime()
	}
	return out, nil
}

// valid refuses an absent time, which would be 1970, and the zero time, which means absent to us.
func valid(t *timestamppb.Timestamp) bool { return t != nil && t.IsValid() && !t.AsTime().IsZero() }
