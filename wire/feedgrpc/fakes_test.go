package feedgrpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

var errAway = errors.New("store is away")

// db is a store in memory: the hub's changes, and every org's bundle.
type db struct {
	mu                 sync.Mutex
	changes            []store.Change
	entries            []store.Revocation
	bundles            map[delegation.OrgID]string
	failing            map[delegation.OrgID]bool
	away               bool
	reads, bundleReads int                    // how often entries and bundles were asked for
	onBundle           func(delegation.OrgID) // called, once, while a bundle is read
}

func (d *db) do(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *db) changed(kind store.ChangeKind, org delegation.OrgID) uint64 {
	n := uint64(len(d.changes) + 1)
	d.changes = append(d.changes, store.Change{Sequence: n, Org: org, Kind: kind, Mark: n*1000 + 1})
	return n
}

func (d *db) revoke(kind revocation.Kind, id string) {
	r := revocation.New("acme", kind, id, "test", time.Now(), time.Hour)
	d.do(func() {
		r.Sequence = d.changed(store.ChangeRevocation, "acme")
		d.entries = append(d.entries, r)
	})
}

// apply changes an org's bundle; an empty version deletes the org.
func (d *db) apply(org delegation.OrgID, version string) {
	d.do(func() {
		if d.bundles == nil {
			d.bundles = map[delegation.OrgID]string{}
		}
		d.bundles[org] = version
		if version == "" {
			delete(d.bundles, org)
		}
		d.changed(store.ChangeConfig, org)
	})
}

func (d *db) Changes(_ context.Context, after uint64, limit int) ([]store.Change, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return nil, errAway
	}
	from := min(int(after), len(d.changes))
	return slices.Clone(d.changes[from:min(from+limit, len(d.changes))]), nil
}

func (d *db) Head(context.Context) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return 0, errAway
	}
	return uint64(len(d.changes)), nil
}

func (d *db) Revocations(_ context.Context, after uint64, now time.Time, limit int) (out []store.Revocation, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	if d.away {
		return nil, errAway
	}
	for _, e := range d.entries {
		if e.Sequence > after && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (d *db) PutReplica(context.Context, store.Replica, time.Time) error { return nil }

func (d *db) Replicas(context.Context) ([]store.Replica, error) { return nil, nil }

func (d *db) DeleteReplica(context.Context, string) error { return nil }

func (d *db) Notifications(context.Context) (<-chan struct{}, error) { return nil, errAway }

func (d *db) Orgs(context.Context) (out []delegation.OrgID, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for org := range d.bundles {
		out = append(out, org)
	}
	slices.Sort(out)
	return out, nil
}

func (d *db) Bundle(_ context.Context, org delegation.OrgID) (string, []byte, error) {
	d.mu.Lock()
	d.bundleReads++
	version, ok := d.bundles[org]
	failing, hook := d.failing[org], d.onBundle
	d.onBundle = nil
	d.mu.Unlock()
	if hook != nil {
		hook(org)
	}
	switch {
	case failing:
		return "", nil, errAway
	case !ok:
		return "", nil, store.ErrNotFound
	}
	return version, []byte(`{"version":"` + version + `"}`), nil
}

// serve starts a hub on a db and makes a server of it.
func serve(t *testing.T, d *db) (*Server, *revocation.Hub) {
	t.Helper()
	set := revocation.NewSet(0)
	hub, err := revocation.NewHub(revocation.HubConfig{Store: d, Set: set, Log: silent, Poll: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	roster, err := revocation.NewRoster(revocation.RosterConfig{Store: d, Hub: hub, Name: "test", Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Hub: hub, Roster: roster, Policies: d, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("hub: %v", err)
		}
	})
	return s, hub
}

// end is the server's end of a stream that the test reads and writes.
type end struct {
	grpc.ServerStream
	ctx  context.Context
	sent chan *obov1.FollowResponse
	said chan *obov1.FollowRequest
}

func (e *end) Context() context.Context { return e.ctx }

func (e *end) Send(m *obov1.FollowResponse) error {
	select {
	case e.sent <- m:
		return nil
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
}

func (e *end) Recv() (*obov1.FollowRequest, error) {
	select {
	case m := <-e.said:
		return m, nil
	case <-e.ctx.Done():
		return nil, e.ctx.Err()
	}
}
