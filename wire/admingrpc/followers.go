package admingrpc

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	feed "github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/wire/grpcerr"
	"github.com/onbehalf/obo/wire/page"
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
func (s server) ListFollowers(ctx context.Context, in *obov1.ListFollowersRequest) (*obov1.ListFollowersResponse, error) {
	p, err := page.Of(in)
	if err != nil {
		return nil, err
	}
	after, err := placeOf(p)
	if err != nil {
		return nil, err
	}
	replicas, err := s.roster.List(ctx)
	if err != nil {
		return nil, unreadable(err)
	}
	replicas, last, more := following(replicas, after, p.Size)
	out := &obov1.ListFollowersResponse{Replicas: replicaMessages(replicas), Sequence: s.roster.Head()}
	if more {
		out.NextPageToken = p.Next(last.key())
	}
	return out, nil
}

// place is where something stands in the list of followers: a replica, or a follower of it. Replicas are in the order of their
// start, each before its followers, which are by name.
type place struct {
	since          int64 // of the replica, in nanoseconds
	replica        string
	name, instance string // of the follower; empty for the replica itself
}

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.since, b.since), strings.Compare(a.replica, b.replica), strings.Compare(a.name, b.name),
		strings.Compare(a.instance, b.instance))
}

// key has parts that hold no space: ids are random letters, names are as revocation.ParseName has them.
func (a place) key() string {
	return fmt.Sprintf("%d %s %s %s", a.since, a.replica, a.name, a.instance)
}

func placeOf(p page.Page) (place, error) {
	if p.After == "" {
		return place{since: math.MinInt64}, nil
	}
	parts := strings.Split(p.After, " ")
	if len(parts) != 4 {
		return place{}, page.Invalid()
	}
	since, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return place{}, page.Invalid()
	}
	return place{since, parts[1], parts[2], parts[3]}, nil
}

// following are the replicas and followers behind a place, at most limit of them, and whether there are more behind the last. A
// replica stands above its followers on each page that they are on.
func following(replicas []feed.Replica, after place, limit int) (out []feed.Replica, last place, more bool) {
	shown := 0
	for _, r := range replicas {
		at := place{since: r.Since.UnixNano(), replica: r.ID}
		here := r
		here.Followers = nil
		listed := at.compare(after) > 0 // the replica itself, for the first time
		if listed {
			if shown == limit {
				return out, last, true
			}
			shown, last = shown+1, at
			out = append(out, here)
		}
		for _, f := range r.Followers {
			at.name, at.instance = f.Name, f.Instance
			if at.compare(after) <= 0 {
				continue
			}
			if shown == limit {
				return out, last, true
			}
			if !listed {
				listed = true
				out = append(out, here)
			}
			shown, last = shown+1, at
			out[len(out)-1].Followers = append(out[len(out)-1].Followers, f)
		}
	}
	return out, last, false
}

// AwaitSequence implements AdminService.
func (s server) AwaitSequence(ctx context.Context, in *obov1.AwaitSequenceRequest) (*obov1.AwaitSequenceResponse, error) {
	timeout := in.GetTimeout().AsDuration()
	switch {
	case in.GetSequence() == 0:
		return nil, invalid("sequence", "sequence is the number of a change, as Revoke answers it")
	case in.GetTimeout() != nil && !in.GetTimeout().IsValid() || timeout < 0 || timeout > maxAwait:
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
