// Package feedgrpc carries the feed of revocations and policy over gRPC: FeedService for the token server, and the
// revocation.Stream of a follower.
package feedgrpc

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// Policies is where the server finds what followers decide by.
type Policies interface {
	// Orgs returns every org.
	Orgs(ctx context.Context) ([]delegation.OrgID, error)
	// Bundle returns an org's policy bundle as JSON and its version; store.ErrNotFound when the org has none. Once the
	// hub's OnChange has returned for a change, Bundle MUST NOT return what was before it.
	Bundle(ctx context.Context, org delegation.OrgID) (version string, document []byte, err error)
}

// Config makes a Server.
type Config struct {
	Hub      *revocation.Hub  // required
	Set      *revocation.Set  // required; the hub's
	Policies Policies         // required
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // required
}

// heartbeat is how often a follower hears from an idle server: well within the second that the protocol promises.
const heartbeat = 500 * time.Millisecond

// Server is FeedService. Who may call it is decided before it, by grpcauth.
type Server struct {
	obov1.UnimplementedFeedServiceServer
	c Config
}

// New returns a Server.
func New(c Config) (*Server, error) {
	if c.Hub == nil || c.Set == nil || c.Policies == nil || c.Log == nil {
		return nil, errors.New("feedgrpc: Hub, Set, Policies and Log are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Server{c: c}, nil
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { obov1.RegisterFeedServiceServer(r, s) }

// watch is one open stream.
type watch struct {
	*Server
	ctx      context.Context
	out      grpc.ServerStreamingServer[obov1.WatchResponse]
	sequence uint64
	known    map[delegation.OrgID]bool // orgs whose bundle the follower was sent
	retry    map[delegation.OrgID]bool // orgs whose bundle could not be read
}

// Watch implements FeedService.
//
// The subscription comes before the snapshot. The other way round, a change that is made after the snapshot was read and
// before the subscription began would be in neither, and the follower would honour a revoked token until it expires. So
// some changes are in both; entries and bundles replace their like, so that harms nothing.
func (s *Server) Watch(_ *obov1.WatchRequest, out grpc.ServerStreamingServer[obov1.WatchResponse]) error {
	ctx := out.Context()
	select {
	case <-s.c.Hub.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	sub := s.c.Hub.Subscribe(ctx)
	defer sub.Close()
	// A follower takes its first heartbeat as fresh, so a server that cannot reach its store lets nobody in.
	if err := s.c.Hub.Sync(ctx); err != nil {
		return unavailable("the server cannot reach its store")
	}
	w := &watch{Server: s, ctx: ctx, out: out, sequence: sub.Head(), known: map[delegation.OrgID]bool{}, retry: map[delegation.OrgID]bool{}}
	if err := w.snapshot(); err != nil {
		return err
	}
	return w.follow(sub)
}

func (w *watch) snapshot() error {
	entries, err := w.c.Hub.Entries(w.ctx)
	if err != nil {
		return unavailable("the server cannot read its revocations")
	}
	for _, r := range entries {
		if err := w.send(revocationMessage(&r)); err != nil {
			return err
		}
	}
	if err := w.everyPolicy(); err != nil {
		return err
	}
	return w.send(&obov1.WatchResponse{Event: &obov1.WatchResponse_SnapshotComplete{SnapshotComplete: &obov1.SnapshotComplete{}}})
}

// follow sends changes as they come, and heartbeats between.
func (w *watch) follow(sub *revocation.Subscription) error {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		if err := w.beat(sub); err != nil {
			return err
		}
		select {
		case <-w.ctx.Done():
			return w.ctx.Err()
		case <-tick.C:
			if err := w.tryAgain(); err != nil {
				return err
			}
		case e, ok := <-sub.Events():
			if err := w.event(e, ok); err != nil {
				return err
			}
		}
	}
}

// beat sends a heartbeat. The time is read first and what waits is sent second: all that the hub had seen by then is in
// the subscription, so the heartbeat never vouches for a change that the follower has not been sent.
func (w *watch) beat(sub *revocation.Subscription) error {
	seen := w.c.Hub.Seen()
	for {
		select {
		case e, ok := <-sub.Events():
			if err := w.event(e, ok); err != nil {
				return err
			}
			continue
		default:
		}
		return w.send(&obov1.WatchResponse{Event: &obov1.WatchResponse_Heartbeat{Heartbeat: &obov1.Heartbeat{At: timestamppb.New(seen)}}})
	}
}

// event sends one change.
func (w *watch) event(e revocation.Event, ok bool) error {
	if !ok {
		// Cut off for being slow, or the call has ended. Something was missed: the follower must take a new snapshot.
		return unavailable("the stream fell behind; open it again")
	}
	w.sequence = max(w.sequence, e.Sequence)
	switch {
	case e.Revocation != nil:
		return w.send(revocationMessage(e.Revocation))
	case e.Change.Kind == store.ChangeConfig && e.Change.Org == store.PlatformOrg:
		return w.everyPolicy() // the operator's policies are part of every bundle
	case e.Change.Kind == store.ChangeConfig:
		return w.policy(e.Change.Org)
	}
	return nil
}

func (w *watch) everyPolicy() error {
	orgs, err := w.c.Policies.Orgs(w.ctx)
	if err != nil {
		w.c.Log.WarnContext(w.ctx, "cannot list orgs for a follower", "error", err)
		return unavailable("the server cannot read its orgs")
	}
	for _, org := range orgs {
		if err := w.policy(org); err != nil {
			return err
		}
	}
	return nil
}

// tryAgain reads the bundles that could not be read.
func (w *watch) tryAgain() error {
	for org := range w.retry {
		if err := w.policy(org); err != nil {
			return err
		}
	}
	return nil
}

// policy sends an org's bundle. One that cannot be read is withdrawn until it can: the follower would otherwise decide by
// the one before. It is that org's trouble alone, so the stream goes on.
func (w *watch) policy(org delegation.OrgID) error {
	version, document, err := w.c.Policies.Bundle(w.ctx, org)
	if w.ctx.Err() != nil {
		return w.ctx.Err()
	}
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			if !w.retry[org] {
				w.c.Log.WarnContext(w.ctx, "cannot read an org's policy bundle; followers refuse its calls", "org", org, "error", err)
			}
			w.retry[org] = true
		} else {
			delete(w.retry, org)
		}
		if !w.known[org] {
			return nil
		}
		delete(w.known, org)
		return w.send(policyMessage(&obov1.PolicyBundle{OrgId: string(org), Deleted: true}))
	}
	delete(w.retry, org)
	w.known[org] = true
	return w.send(policyMessage(&obov1.PolicyBundle{OrgId: string(org), Version: version, Document: document}))
}

func (w *watch) send(m *obov1.WatchResponse) error {
	m.Sequence = w.sequence
	return w.out.Send(m)
}

func policyMessage(b *obov1.PolicyBundle) *obov1.WatchResponse {
	return &obov1.WatchResponse{Event: &obov1.WatchResponse_Policy{Policy: b}}
}

func revocationMessage(r *store.Revocation) *obov1.WatchResponse {
	return &obov1.WatchResponse{Event: &obov1.WatchResponse_Revocation{Revocation: &obov1.Revocation{
		Kind: r.Kind, Id: r.ID, OrgId: string(r.Org), Scope: r.Scope, Reason: r.Reason, Departed: r.Departed,
		Since: since(r.Since), Before: timestamppb.New(r.Before), Until: timestamppb.New(r.Until),
	}}}
}

// since is unset for the zero time, which means: from the beginning.
func since(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func unavailable(description string) error {
	return grpcerr.Error{Reason: grpcerr.DependencyUnavailable, Description: description, RetryAfter: time.Second}
}
