package feedgrpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

// following is one follower's stream.
type following struct {
	*Server
	ctx      context.Context
	out      outlet
	hello    revocation.Hello
	member   *revocation.Member
	sub      *revocation.Subscription
	at       revocation.Position       // what the follower has been told of
	known    map[delegation.OrgID]bool // orgs whose bundle the follower may have
	retry    map[delegation.OrgID]bool // orgs whose bundle could not be read
	current  bool                      // it has been told all that it lacked
	watchdog *time.Timer               // reset whenever the follower shows that it is there
}

func newFollowing(s *Server, ctx context.Context, out outlet, h revocation.Hello, m *revocation.Member) *following {
	f := &following{Server: s, ctx: ctx, out: out, hello: h, member: m, sub: s.c.Hub.Subscribe(),
		known: map[delegation.OrgID]bool{}, retry: map[delegation.OrgID]bool{}}
	f.at = f.sub.Head()
	return f
}

func (f *following) run() error {
	if err := f.open(); err != nil {
		return err
	}
	return f.follow()
}

// alive puts off the end of a silent follower.
func (f *following) alive() { f.watchdog.Reset(f.hello.StaleAfter) }

// confirmations takes what the follower confirms.
func (f *following) confirmations(cancel context.CancelCauseFunc, requests <-chan *obov1.FollowRequest) {
	for {
		select {
		case <-f.ctx.Done():
			return
		case in := <-requests:
			c := in.GetConfirm()
			if c == nil {
				cancel(invalid("event", "after hello there are only confirmations"))
				return
			}
			f.alive()
			f.member.Confirm(revocation.Confirmation{
				Sequence: min(c.GetSequence(), f.c.Hub.Head()), Stopped: int(c.GetStopped())})
		}
	}
}

// open tells the follower what it lacks.
func (f *following) open() error {
	resumed, err := f.c.Hub.Has(f.ctx, f.hello.After)
	if err != nil {
		return unavailable("the server cannot reach its store")
	}
	after := uint64(0)
	if resumed {
		after = f.hello.After.Sequence
	}
	err = f.send(&obov1.FollowResponse{Event: &obov1.FollowResponse_Opening{Opening: &obov1.Opening{Resumed: resumed}}})
	if err != nil {
		return err
	}
	if err := f.entries(after); err != nil {
		return err
	}
	if err := f.bundles(resumed, after); err != nil {
		return err
	}
	f.current = true
	return f.send(&obov1.FollowResponse{Event: &obov1.FollowResponse_Current{Current: &obov1.Current{}}})
}

// entries sends the live entries after a sequence number, page by page.
func (f *following) entries(after uint64) error {
	for {
		page, err := f.shared.page(f.ctx, after, f.at.Sequence)
		if err != nil {
			return err
		}
		if page.frame != nil {
			if err := page.frame.send(f.out); err != nil {
				return err
			}
			f.alive() // it reads: it has nothing to confirm yet
		}
		if page.last {
			return nil
		}
		after = page.next
	}
}

// bundles sends the policy bundles that the follower lacks.
func (f *following) bundles(resumed bool, after uint64) error {
	if !f.hello.Policies {
		return nil
	}
	if !resumed {
		return f.everyPolicy()
	}
	// Whatever changed meanwhile, the follower has a bundle of any org, as far as this server knows.
	orgs, err := f.shared.orgs(f.ctx, f.sub.Head().Sequence)
	if err != nil {
		return err
	}
	for _, org := range orgs {
		f.known[org] = true
	}
	changed, every, err := f.changed(after)
	if err != nil {
		return err
	}
	if every {
		return f.everyPolicy()
	}
	for org := range changed {
		f.known[org] = true
		if err := f.policy(org); err != nil {
			return err
		}
	}
	return nil
}

// changed lists the orgs whose configuration changed after a sequence number. It says every when the operator's did.
func (f *following) changed(after uint64) (orgs map[delegation.OrgID]bool, every bool, err error) {
	orgs = map[delegation.OrgID]bool{}
	for {
		changes, err := f.c.Hub.Changes(f.ctx, after)
		if err != nil {
			return nil, false, unavailable("the server cannot reach its store")
		}
		for _, c := range changes {
			after = c.Sequence
			if c.Kind != store.ChangeConfig {
				continue
			}
			orgs[c.Org] = true
			every = every || c.Org == store.PlatformOrg
		}
		if every || len(changes) < store.MaxPage {
			return orgs, every, nil
		}
	}
}

// follow sends changes as they come, and heartbeats between.
func (f *following) follow() error {
	// Several within the follower's bound, and within the half of it after which it tries another server.
	tick := time.NewTicker(min(max(f.hello.StaleAfter/5, 200*time.Millisecond), time.Second))
	defer tick.Stop()
	if err := f.beat(); err != nil {
		return err
	}
	for {
		select {
		case <-f.ctx.Done():
			return f.ctx.Err()
		case <-f.sub.More():
			if err := f.news(); err != nil {
				return err
			}
		case <-tick.C:
			if err := f.tryAgain(); err != nil {
				return err
			}
			if err := f.beat(); err != nil {
				return err
			}
		}
	}
}

// beat sends a heartbeat. The time is read first and what waits is sent second: all that the hub had seen by then is in
// the subscription, so the heartbeat never vouches for a change that the follower has not been sent.
func (f *following) beat() error {
	seen := f.c.Hub.Seen()
	if err := f.news(); err != nil {
		return err
	}
	f.member.Beat()
	return f.send(&obov1.FollowResponse{Event: &obov1.FollowResponse_Heartbeat{Heartbeat: &obov1.Heartbeat{At: timestamppb.New(seen)}}})
}

// news sends the changes that wait. Policy goes first, entries last: the position stands for all of them, and moves when all
// have been sent.
func (f *following) news() error {
	from := f.at.Sequence
	events, ok := f.sub.Take()
	if !ok {
		return unavailable("the stream fell behind; open it again")
	}
	if len(events) == 0 {
		return nil
	}
	if f.hello.Policies {
		if err := f.policies(events); err != nil {
			return err
		}
	}
	f.at = f.sub.Head()
	if frame := f.shared.batch(from, f.at, events); frame != nil {
		return frame.send(f.out)
	}
	return nil // the next heartbeat carries the position
}

func (f *following) policies(events []revocation.Event) error {
	changed := map[delegation.OrgID]bool{}
	for _, e := range events {
		if e.Change.Kind == store.ChangeConfig {
			changed[e.Change.Org] = true
		}
	}
	if changed[store.PlatformOrg] {
		return f.everyPolicy() // the operator's policies are part of every bundle
	}
	for org := range changed {
		if err := f.policy(org); err != nil {
			return err
		}
	}
	return nil
}

func (f *following) everyPolicy() error {
	orgs, err := f.shared.orgs(f.ctx, f.sub.Head().Sequence)
	if err != nil {
		return err
	}
	for _, org := range orgs {
		if err := f.policy(org); err != nil {
			return err
		}
	}
	return nil
}

// tryAgain reads the bundles that could not be read.
func (f *following) tryAgain() error {
	for org := range f.retry {
		if err := f.policy(org); err != nil {
			return err
		}
	}
	return nil
}

// policy sends an org's bundle. One that cannot be read is withdrawn until it can: the follower would otherwise decide by
// the one before. It is that org's trouble alone, so the stream goes on.
func (f *following) policy(org delegation.OrgID) error {
	bundle, err := f.shared.bundle(f.ctx, org, f.sub.Head().Sequence)
	if f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	if err == nil {
		delete(f.retry, org)
		f.known[org] = true
		if err := bundle.send(f.out); err != nil {
			return err
		}
		if !f.current {
			f.alive()
		}
		return nil
	}
	gone := &obov1.PolicyBundle{OrgId: string(org), Deleted: true}
	if errors.Is(err, store.ErrNotFound) {
		delete(f.retry, org)
	} else {
		gone.Deleted, gone.Unreadable = false, true
		if f.retry[org] {
			return nil // the follower knows
		}
		f.c.Log.WarnContext(f.ctx, "cannot read an org's policy bundle; followers refuse its calls", "org", org, "error", err)
		f.retry[org] = true
	}
	if gone.GetDeleted() && !f.known[org] {
		return nil
	}
	delete(f.known, org)
	return f.send(&obov1.FollowResponse{Event: &obov1.FollowResponse_Policy{Policy: gone}})
}

// send sends a message that is this follower's own.
func (f *following) send(m *obov1.FollowResponse) error {
	m.Position = place(f.at)
	return f.out.Send(m)
}

func place(p revocation.Position) *obov1.Position {
	return &obov1.Position{Sequence: p.Sequence, Mark: p.Mark}
}
