package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type followersCommand struct{ listFlags }

// Help is shown below the flags.
func (followersCommand) Help() string {
	return `Lists the replicas of obo-sts and who follows the feed at each: executors, and services with the delegationfeed library. IN FORCE is
the newest change that a follower has confirmed. One that was lost is listed until its own bound has passed: it refuses every
token from then on. A replica that died is listed for 90 seconds.

Examples:
  obo followers
  obo followers -o json`
}

func (c followersCommand) Run(ctx context.Context, a *app) error {
	return a.onServer(ctx, "cannot list the followers", func(ctx context.Context, s *remote.STS) error {
		resp := &obov1.ListFollowersResponse{}
		parts, err := every(c.listFlags, func(size int32, token string) ([]follows, string, error) {
			page, err := s.Admin.ListFollowers(ctx, &obov1.ListFollowersRequest{PageSize: size, PageToken: token})
			resp.Sequence = max(resp.GetSequence(), page.GetSequence())
			return listed(page.GetReplicas()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		resp.Replicas = joined(parts)
		return a.Print(resp, func() {
			a.Printf("The newest change is %d.\n\n", resp.GetSequence())
			a.showFollowers(resp.GetReplicas(), resp.GetSequence())
		})
	})
}

// follows is one item of the list: a replica, or one that follows it.
type follows struct {
	replica  *obov1.Replica
	follower *obov1.Follower
}

// listed takes replicas apart into what the server counts.
func listed(replicas []*obov1.Replica) (out []follows) {
	for _, r := range replicas {
		out = append(out, follows{replica: r})
		for _, f := range r.GetFollowers() {
			out = append(out, follows{r, f})
		}
	}
	return out
}

// joined puts them together again, across pages.
func joined(list []follows) (out []*obov1.Replica) {
	for _, item := range list {
		i := slices.IndexFunc(out, func(r *obov1.Replica) bool { return r.GetId() == item.replica.GetId() })
		if i < 0 {
			r := proto.CloneOf(item.replica)
			r.Followers = nil
			i, out = len(out), append(out, r)
		}
		if item.follower != nil {
			out[i].Followers = append(out[i].Followers, item.follower)
		}
	}
	return out
}

// showFollowers shows who has what in force, and what that means for one change.
func (a *app) showFollowers(replicas []*obov1.Replica, sequence uint64) {
	rows := [][]string{{"REPLICA", "FOLLOWER", "ADDRESS", "SINCE", "IN FORCE", "LAG", "STOPPED", "STATE"}}
	for _, r := range replicas {
		state := "seen " + when(r.GetSeen())
		if r.GetEnded() {
			state = "ended"
		}
		rows = append(rows, []string{render.Clean(r.GetName()), "-", "-", when(r.GetSince()),
			fmt.Sprint(r.GetSequence()), "-", "-", state})
		for _, f := range r.GetFollowers() {
			rows = append(rows, []string{render.Clean(r.GetName()), render.Clean(f.GetName()), render.Clean(f.GetAddress()),
				when(f.GetSince()), fmt.Sprint(f.GetSequence()), short(f.GetLag().AsDuration()), fmt.Sprint(f.GetStopped()), stateOf(f, sequence)})
		}
	}
	a.Table(rows)
}

func stateOf(f *obov1.Follower, sequence uint64) string {
	switch {
	case f.GetLost() != nil:
		return "lost; refuses from " + when(f.GetRefuses())
	case f.GetSequence() == 0:
		return "loading"
	case f.GetSequence() < sequence:
		return "behind"
	}
	return "current"
}

// waitFlags are those of a command that makes a change which verifiers must hear of.
type waitFlags struct {
	Wait    bool          `help:"Return when every replica and every follower has it in force, or refuses everything; exit 4 when some do not in time."`
	WaitFor time.Duration `default:"10s" help:"How long to wait, at most 30s."`
}

// await waits, when that was asked for, until a change is in force everywhere.
func (a *app) await(ctx context.Context, s *remote.STS, c waitFlags, sequence uint64) (*obov1.AwaitSequenceResponse, error) {
	if !c.Wait {
		return nil, nil
	}
	fmt.Fprintf(a.err, "waiting until every follower has change %d in force\n", sequence)
	resp, err := s.Admin.AwaitSequence(ctx, &obov1.AwaitSequenceRequest{Sequence: sequence, Timeout: durationpb.New(c.WaitFor)})
	if err != nil {
		return nil, explain.Of("the change is made, but it is not known where it is in force", err)
	}
	return resp, nil
}

// withWait is what a command prints as JSON: its answer, and beside it what waiting found.
func withWait(answer proto.Message, w *obov1.AwaitSequenceResponse) any {
	if w == nil {
		return answer
	}
	return map[string]any{"answer": render.Proto(answer), "followers": render.Proto(w)}
}

// unconfirmed is the problem of a change that is not in force everywhere, nil when it is.
func unconfirmed(w *obov1.AwaitSequenceResponse, sequence uint64) error {
	if w == nil || w.GetComplete() {
		return nil
	}
	var names []string
	for _, r := range w.GetReplicas() {
		if r.GetSequence() < sequence && !r.GetEnded() {
			names = append(names, "replica "+render.Clean(r.GetName()))
		}
		for _, f := range r.GetFollowers() {
			if f.GetSequence() < sequence {
				names = append(names, render.Clean(f.GetName()))
			}
		}
	}
	slices.Sort(names)
	const shown = 10
	if more := len(names) - shown; more > 0 {
		names = append(names[:shown], fmt.Sprintf("%d more", more))
	}
	return &explain.Problem{What: "the change is made, but not yet in force everywhere", Code: explain.Unavailable,
		Why: fmt.Sprintf("not confirmed by %s", strings.Join(names, ", ")),
		Do: "wait for `obo followers` to show them current or gone; " +
			"a follower that hears nothing refuses every token by its own bound"}
}
