package admingrpc

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	feed "github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// Roster knows who follows the feed, at all replicas.
type Roster interface {
	List(ctx context.Context) ([]feed.Replica, error)
	Await(ctx context.Context, sequence uint64) (replicas []feed.Replica, complete bool, err error)
	Head() uint64
}

// maxAwait bounds a call of AwaitSequence.
const maxAwait = 30 * time.Second

// ListFollowers implements AdminService.
func (s server) ListFollowers(ctx context.Context, _ *obov1.ListFollowersRequest) (*obov1.ListFollowersResponse, error) {
	replicas, err := s.roster.List(ctx)
	if err != nil {
		return nil, unreadable(err)
	}
	return &obov1.ListFollowersResponse{Replicas: replicaMessages(replicas), Sequence: s.roster.Head()}, nil
}

// AwaitSequence implements AdminService.
func (s server) AwaitSequence(ctx context.Context, in *obov1.AwaitSequenceRequest) (*obov1.AwaitSequenceResponse, error) {
	timeout := in.GetTimeout().AsDuration()
	switch {
	case in.GetSequence() == 0:
		return nil, invalid("sequence", "sequence is the number of a change, as Revoke answers it")
	case !in.GetTimeout().IsValid() || timeout < 0 || timeout > maxAwait:
		return nil, invalid("timeout", "timeout must be at most 30 s")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	replicas, complete, err := s.roster.Await(ctx, in.GetSequence())
	if err != nil {
		return nil, unreadable(err)
	}
	return &obov1.AwaitSequenceResponse{Complete: complete, Replicas: replicaMessages(replicas)}, nil
}

func unreadable(err error) error {
	return grpcerr.Error{Reason: grpcerr.DependencyUnavailable, Description: "what the replicas report cannot be read",
		RetryAfter: time.Second, Cause: err}
}

func replicaMessages(replicas []feed.Replica) []*obov1.Replica {
	out := make([]*obov1.Replica, len(replicas))
	for i, r := range replicas {
		out[i] = &obov1.Replica{Id: r.ID, Name: r.Name, Since: stamp(r.Since), Seen: stamp(r.Seen), Sequence: r.Sequence, Ended: r.Ended}
		for _, f := range r.Followers {
			out[i].Followers = append(out[i].Followers, &obov1.Follower{
				Name: f.Name, Instance: f.Instance, Address: f.Address, Since: stamp(f.Since), Sequence: f.Sequence,
				Lag: durationpb.New(f.Lag), Heard: stamp(f.Heard), StaleAfter: durationpb.New(f.StaleAfter),
				Lost: stamp(f.Lost), Refuses: stamp(f.Refuses), Stopped: uint64(max(f.Stopped, 0)),
			})
		}
	}
	return out
}
