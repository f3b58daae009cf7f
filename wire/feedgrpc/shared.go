package feedgrpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

const (
	sharedFor  = 5 * time.Second  // how long what was read for one follower is kept for others
	sharedMost = 128              // pages, and bundles, that are kept at once
	readWithin = 10 * time.Second // of what is read for many: no one follower's end ends it
)

// frame is a message that many followers are sent. It is encoded once, by the first of them.
type frame struct {
	message *obov1.FollowResponse
	once    sync.Once
	ready   *grpc.PreparedMsg // nil when the stream is none of grpc-go's
}

// send sends the frame. A prepared message is as good on one stream as on another: the server compresses nothing.
func (f *frame) send(out outlet) error {
	f.once.Do(func() {
		ready := new(grpc.PreparedMsg)
		if ready.Encode(out, f.message) == nil {
			f.ready = ready
		}
	})
	if f.ready != nil {
		return out.SendMsg(f.ready)
	}
	return out.Send(f.message)
}

// shared is what is read once for many followers: those that connect at the same time, as after a restart, and those that
// are told of the same change.
type shared struct {
	c       Config
	pages   flight[uint64, page]
	bundled flight[delegation.OrgID, *frame]
	listed  flight[struct{}, []delegation.OrgID]

	mu     *sync.Mutex
	latest *latest
}

// latest is the newest batch of changes.
type latest struct {
	from, to uint64
	frame    *frame // nil when nothing was revoked
}

func newShared(c Config) shared {
	return shared{c: c, mu: new(sync.Mutex), latest: new(latest), pages: newFlight[uint64, page](c.Now),
		bundled: newFlight[delegation.OrgID, *frame](c.Now), listed: newFlight[struct{}, []delegation.OrgID](c.Now)}
}

// page is some live entries after a sequence number.
type page struct {
	frame *frame // nil when there are none
	next  uint64 // the sequence number of the last of them
	last  bool   // there were no more
}

// page returns the live entries after a sequence number, complete at least up to need. Numbers become visible in their
// order, so a full page stays what it is; the last one is good for those who need no more than was known when it was read.
func (s *shared) page(ctx context.Context, after, need uint64) (page, error) {
	return s.pages.get(ctx, after, s.c.Hub.Head,
		func(p page, head uint64) bool { return !p.last || head >= need },
		func(ctx context.Context) (page, error) {
			entries, err := s.c.Hub.Entries(ctx, after, s.c.Now())
			if err != nil {
				return page{}, unavailable("the server cannot reach its store")
			}
			out := page{last: len(entries) < store.MaxPage}
			if len(entries) > 0 {
				out.next = entries[len(entries)-1].Sequence
				out.frame = &frame{message: revocations(entries)}
			}
			return out, nil
		})
}

// bundle returns an org's policy bundle as it is after the change need, or later.
func (s *shared) bundle(ctx context.Context, org delegation.OrgID, need uint64) (*frame, error) {
	return s.bundled.get(ctx, org, s.c.Hub.Head,
		func(_ *frame, head uint64) bool { return head >= need },
		func(ctx context.Context) (*frame, error) {
			version, document, err := s.c.Policies.Bundle(ctx, org)
			if err != nil {
				return nil, err
			}
			return &frame{message: &obov1.FollowResponse{Event: &obov1.FollowResponse_Policy{
				Policy: &obov1.PolicyBundle{OrgId: string(org), Version: version, Document: document}}}}, nil
		})
}

// orgs lists the orgs as they are after the change need, or later.
func (s *shared) orgs(ctx context.Context, need uint64) ([]delegation.OrgID, error) {
	return s.listed.get(ctx, struct{}{}, s.c.Hub.Head,
		func(_ []delegation.OrgID, head uint64) bool { return head >= need },
		func(ctx context.Context) ([]delegation.OrgID, error) {
			orgs, err := s.c.Policies.Orgs(ctx)
			if err != nil {
				s.c.Log.WarnContext(ctx, "cannot list orgs for a follower", "error", err)
				return nil, unavailable("the server cannot read its orgs")
			}
			return orgs, nil
		})
}

// batch returns what was revoked between two changes; nil when nothing was. Most followers are at the same place.
func (s *shared) batch(from uint64, to revocation.Position, events []revocation.Event) *frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest.from == from && s.latest.to == to.Sequence {
		return s.latest.frame
	}
	var entries []store.Revocation
	for _, e := range events {
		if e.Revocation != nil {
			entries = append(entries, *e.Revocation)
		}
	}
	*s.latest = latest{from: from, to: to.Sequence}
	if len(entries) > 0 {
		m := revocations(entries)
		m.Position = place(to)
		s.latest.frame = &frame{message: m}
	}
	return s.latest.frame
}

func revocations(entries []store.Revocation) *obov1.FollowResponse {
	out := &obov1.Revocations{Revocations: make([]*obov1.Revocation, len(entries))}
	for i, r := range entries {
		out.Revocations[i] = &obov1.Revocation{
			Kind: r.Kind, Id: r.ID, OrgId: string(r.Org), Scope: r.Scope, Reason: r.Reason, Departed: r.Departed,
			Since: since(r.Since), Before: timestamppb.New(r.Before), Until: timestamppb.New(r.Until),
		}
	}
	return &obov1.FollowResponse{Event: &obov1.FollowResponse_Revocations{Revocations: out}}
}

// since is unset for the zero time, which means: from the beginning.
func since(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// flight reads what many ask for at once, once, and keeps it for a moment.
type flight[K comparable, V any] struct {
	now  func() time.Time
	mu   *sync.Mutex
	asks map[K]*answer[V]
}

// answer is one reading. What it holds may be read when done is closed.
type answer[V any] struct {
	head  uint64 // of the hub, before the reading began
	began time.Time
	done  chan struct{}
	value V
	err   error
}

func newFlight[K comparable, V any](now func() time.Time) flight[K, V] {
	return flight[K, V]{now: now, mu: new(sync.Mutex), asks: map[K]*answer[V]{}}
}

// get returns what was read for a key, when it is good enough, or reads it.
func (f *flight[K, V]) get(ctx context.Context, k K, head func() uint64, good func(V, uint64) bool,
	read func(context.Context) (V, error),
) (V, error) {
	for {
		a, mine := f.join(k, head)
		if mine {
			reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), readWithin)
			a.value, a.err = read(reading)
			cancel()
			close(a.done)
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
		if mine || a.err == nil && good(a.value, a.head) {
			if a.err != nil {
				f.drop(k, a)
			}
			return a.value, a.err
		}
		f.drop(k, a)
	}
}

// join returns the reading for a key. It is the caller's to make when there was none.
func (f *flight[K, V]) join(k K, head func() uint64) (a *answer[V], mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	for k, a := range f.asks {
		if now.Sub(a.began) > sharedFor {
			delete(f.asks, k)
		}
	}
	if a, ok := f.asks[k]; ok {
		return a, false
	}
	if len(f.asks) >= sharedMost {
		clear(f.asks) // whoever waits for one has it
	}
	a = &answer[V]{head: head(), began: now, done: make(chan struct{})}
	f.asks[k] = a
	return a, true
}

func (f *flight[K, V]) drop(k K, a *answer[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asks[k] == a {
		delete(f.asks, k)
	}
}
