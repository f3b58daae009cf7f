package admingrpc_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/onbehalf/obo/exchange/exchangetest"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
)

// reader reads one page of a list.
type reader func(size int32, token string) (items []string, next string, err error)

// pages reads a list in pages of a size and answers with what is on each.
func pages(t *testing.T, size int32, read reader) (out []string) {
	t.Helper()
	for token := ""; ; {
		items, next, err := read(size, token)
		if err != nil {
			t.Fatal(err)
		}
		if out = append(out, strings.Join(items, " ")); next == "" {
			return out
		}
		token = next
	}
}

// TestLists: every list in pages, and each list's token is of no other list and no other org (threat: tenant mix-up).
func TestLists(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	client, ctx := dial(t, w, nil), t.Context()
	for _, id := range []string{"one", "two", "three"} {
		for _, org := range []string{"acme", "globex"} {
			if _, err := client.Revoke(ctx, &obov1.RevokeRequest{OrgId: org, Kind: "token", Id: org + "-" + id}); err != nil {
				t.Fatal(err)
			}
		}
	}
	orgs := func(size int32, token string) ([]string, string, error) {
		out, err := client.ListOrgs(ctx, &obov1.ListOrgsRequest{PageSize: size, PageToken: token})
		return out.GetOrgIds(), out.GetNextPageToken(), err
	}
	revocations := func(org string) reader {
		return func(size int32, token string) (ids []string, next string, err error) {
			out, err := client.ListRevocations(ctx, &obov1.ListRevocationsRequest{OrgId: org, PageSize: size, PageToken: token})
			for _, r := range out.GetRevocations() {
				ids = append(ids, r.GetId())
			}
			return ids, out.GetNextPageToken(), err
		}
	}
	agents := func(org string) reader {
		return func(size int32, token string) (names []string, next string, err error) {
			out, err := client.ListAgents(ctx, &obov1.ListAgentsRequest{OrgId: org, PageSize: size, PageToken: token})
			for _, a := range out.GetAgents() {
				names = append(names, a.GetName())
			}
			return names, out.GetNextPageToken(), err
		}
	}
	if got := pages(t, 2, orgs); !slices.Equal(got, []string{"acme globex", "initech"}) {
		t.Errorf("orgs %q", got)
	}
	if got := pages(t, 3, orgs); strings.Join(got, "|") != "acme globex initech|" { // a full page is followed by an empty one
		t.Errorf("orgs %q", got)
	}
	if got := pages(t, 2, revocations("acme")); !slices.Equal(got, []string{"acme-one acme-two", "acme-three"}) {
		t.Errorf("revocations %q", got)
	}
	whole, _, err := agents("acme")(0, "")
	got := strings.Fields(strings.Join(pages(t, 1, agents("acme")), " "))
	if err != nil || len(got) < 3 || !slices.Equal(got, whole) {
		t.Errorf("agents %q of %q, %v", got, whole, err)
	}

	tokens, lists := map[string]string{}, map[string]reader{
		"orgs": orgs, "acme's revocations": revocations("acme"), "globex's revocations": revocations("globex"),
		"acme's agents": agents("acme"),
	}
	for name, read := range lists {
		_, next, err := read(1, "")
		if err != nil || next == "" {
			t.Fatalf("%s: %q, %v", name, next, err)
		}
		tokens[name] = next
	}
	for of, token := range tokens {
		for name, read := range lists {
			items, _, err := read(1, token)
			if want := map[bool]codes.Code{true: codes.OK, false: codes.InvalidArgument}[of == name]; status.Code(err) != want {
				t.Errorf("the token of %s, for %s: %q, %v", of, name, items, err)
			}
		}
	}
	if _, _, err := agents("acme")(1, "researcher"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a bare name: %v", err)
	}
}

// fakeRoster is what the replicas report.
type fakeRoster struct {
	replicas []revocation.Replica
	head     uint64
	err      error
}

func (f *fakeRoster) List(context.Context) ([]revocation.Replica, error) { return f.replicas, f.err }
func (f *fakeRoster) Head() uint64                                       { return f.head }

// Await is as (*revocation.Roster).Await: it answers at once when all have confirmed, and else when the time is up.
func (f *fakeRoster) Await(ctx context.Context, sequence uint64) ([]revocation.Replica, bool, error) {
	if f.err == nil && slices.ContainsFunc(f.replicas, func(r revocation.Replica) bool { return !r.Confirmed(sequence) }) {
		<-ctx.Done()
		return f.replicas, false, nil
	}
	return f.replicas, f.err == nil, f.err
}

// replica makes one with followers, which have confirmed a change.
func replica(id string, since int64, sequence uint64, followers ...string) revocation.Replica {
	start := time.Unix(since, 5).UTC()
	r := revocation.Replica{ID: id, Name: "host-" + id, Since: start, Seen: start.Add(9 * time.Second), Sequence: sequence}
	for _, name := range followers {
		r.Followers = append(r.Followers, revocation.FollowerReport{
			Name: name, Instance: "i" + name + id, Address: "10.0.0.1:9", Since: r.Since, Sequence: sequence, Lag: 3 * time.Millisecond,
			Heard: r.Seen, StaleAfter: 5 * time.Second, Stopped: 2})
	}
	return r
}

// flat is an answer as one text for each item.
func flat(replicas []*obov1.Replica) (out []string) {
	for _, r := range replicas {
		out = append(out, r.GetId())
		for _, f := range r.GetFollowers() {
			out = append(out, r.GetId()+"/"+f.GetName())
		}
	}
	return out
}

// TestFollowers: who follows, through the door, and the state of a change there.
func TestFollowers(t *testing.T) {
	t.Parallel()
	roster := &fakeRoster{head: 9, replicas: []revocation.Replica{
		replica("A", 1, 9, "executor", "mail"), replica("B", 2, 8, "executor"),
	}}
	roster.replicas[1].Followers[0].Lost = time.Unix(50, 0)
	roster.replicas[1].Followers[0].Refuses = time.Unix(55, 0)
	client, ctx := dialWith(t, exchangetest.NewWorld(t), nil, roster), t.Context()
	got, err := client.ListFollowers(ctx, &obov1.ListFollowersRequest{})
	if err != nil || got.GetSequence() != 9 || strings.Join(flat(got.GetReplicas()), " ") != "A A/executor A/mail B B/executor" {
		t.Fatalf("%v, %v", got, err)
	}
	a, b := got.GetReplicas()[0], got.GetReplicas()[1].GetFollowers()[0]
	f := a.GetFollowers()[0]
	if a.GetName() != "host-A" || a.GetSequence() != 9 || a.GetSince().AsTime() != roster.replicas[0].Since ||
		f.GetLag().AsDuration() != 3*time.Millisecond || f.GetStaleAfter().AsDuration() != 5*time.Second || f.GetStopped() != 2 || f.GetAddress() != "10.0.0.1:9" || f.GetLost() != nil {
		t.Errorf("%v", a)
	}
	if b.GetLost().AsTime().Unix() != 50 || b.GetRefuses().AsTime().Unix() != 55 {
		t.Errorf("%v", b)
	}

	for _, c := range []struct {
		sequence uint64
		timeout  time.Duration
		complete bool
		code     codes.Code
	}{
		{sequence: 8, timeout: 30 * time.Second, complete: true},
		{sequence: 9, timeout: time.Millisecond},
		{sequence: 9},
		{sequence: 0, timeout: time.Second, code: codes.InvalidArgument},
		{sequence: 8, timeout: 31 * time.Second, code: codes.InvalidArgument},
		{sequence: 8, timeout: -1, code: codes.InvalidArgument},
	} {
		got, err := client.AwaitSequence(ctx, &obov1.AwaitSequenceRequest{Sequence: c.sequence, Timeout: durationpb.New(c.timeout)})
		if status.Code(err) != c.code || got.GetComplete() != c.complete || err == nil && len(got.GetReplicas()) != 2 {
			t.Errorf("await %d for %s: %v, %v", c.sequence, c.timeout, got, err)
		}
	}

	roster.err = errors.New("canary: the store is away")
	_, listed := client.ListFollowers(ctx, &obov1.ListFollowersRequest{})
	_, awaited := client.AwaitSequence(ctx, &obov1.AwaitSequenceRequest{Sequence: 8})
	for _, err := range []error{listed, awaited} {
		if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v", err)
		}
	}
}

// TestFollowerPages: pages of any size, put together, are the whole, each replica before its followers; what goes away between
// two pages takes nothing else with it.
func TestFollowerPages(t *testing.T) {
	t.Parallel()
	roster := &fakeRoster{}
	client, ctx := dialWith(t, exchangetest.NewWorld(t), nil, roster), t.Context()
	rapid.Check(t, func(rt *rapid.T) {
		roster.replicas = nil
		for i := range rapid.IntRange(0, 4).Draw(rt, "replicas") {
			var names []string
			for n := range rapid.IntRange(0, 5).Draw(rt, "followers") {
				names = append(names, fmt.Sprintf("f%d", n))
			}
			since := rapid.Int64Range(0, 2).Draw(rt, "since")
			roster.replicas = append(roster.replicas, replica(fmt.Sprintf("R%d", i), since, 1, names...))
		}
		slices.SortFunc(roster.replicas, func(a, b revocation.Replica) int {
			return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID))
		})
		count := map[string]int{} // of those that stay
		for _, item := range flat(whole(t, client)) {
			count[item] = 0
		}
		for token := ""; ; {
			size := rapid.Int32Range(1, 4).Draw(rt, "size")
			page, err := client.ListFollowers(ctx, &obov1.ListFollowersRequest{PageSize: size, PageToken: token})
			if err != nil {
				rt.Fatal(err)
			}
			items := flat(page.GetReplicas())
			if len(items) > int(size)+1 { // a replica that was on the page before is only the head of its followers
				rt.Fatalf("%d of at most %d: %q", len(items), size, items)
			}
			for _, item := range items {
				if _, stays := count[item]; stays {
					count[item]++
				}
			}
			if token = page.GetNextPageToken(); token == "" {
				break
			}
			if i := len(roster.replicas) - 1; rapid.IntRange(0, 3).Draw(rt, "leave") == 0 && i >= 0 {
				gone := roster.replicas[i]
				roster.replicas = roster.replicas[:i]
				delete(count, gone.ID)
				for _, f := range gone.Followers {
					delete(count, gone.ID+"/"+f.Name)
				}
			}
		}
		for item, n := range count {
			if n == 0 || n > 1 && strings.Contains(item, "/") {
				rt.Errorf("%s is on %d pages", item, n)
			}
		}
	})
	for _, token := range []string{"1 R0", "x"} {
		_, err := client.ListFollowers(ctx, &obov1.ListFollowersRequest{PageToken: token})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("token %q: %v", token, err)
		}
	}
}

// whole is the list in one page.
func whole(t *testing.T, client obov1.AdminServiceClient) []*obov1.Replica {
	t.Helper()
	got, err := client.ListFollowers(t.Context(), &obov1.ListFollowersRequest{PageSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetReplicas()
}
