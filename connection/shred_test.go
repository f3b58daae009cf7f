package connection_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// dueToRefresh is a connection whose access token has ended.
func dueToRefresh(t *testing.T, w *world) (*cloud, *office, store.Connection) {
	t.Helper()
	c := newCloud(t)
	o := w.office(t, c, slog.DiscardHandler)
	o.open(t, "acme", c)
	v := o.connected(t, c, "acme", "alice")
	conn, err := o.links.Get(t.Context(), "acme", v.connection)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.advance(time.Hour)
	return c, o, conn
}

// TestShredDuringRefresh: an org is shredded while a refresh is on its way, and its next secret makes it a new data key. That
// the provider refuses is not put on record for hours: nobody waits for a row that will never open again, and the right to refresh is free.
func TestShredDuringRefresh(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, w *world) {
		c, o, conn := dueToRefresh(t, w)
		c.hold = func() {
			if err := o.vault.Shred(t.Context(), "acme"); err != nil {
				t.Error(err)
			}
			if err := o.register(t.Context(), "acme", c, "notes"); err != nil {
				t.Error(err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.refuses = "invalid_client"
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		o.keeper.Ready(ctx, "acme", conn, nil)
		if ctx.Err() != nil {
			t.Error("the refresh does not end")
		}
		now := w.clock.now()
		if _, err := o.org("acme").AcquireRefresh(t.Context(), conn.ID, now, now.Add(time.Second)); err != nil {
			t.Errorf("the right to refresh is not free: %v", err)
		}
	})
}

// TestShredEndsRefreshed: a refresh that was on its way when its org was shredded brings nothing back.
func TestShredEndsRefreshed(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, w *world) {
		_, o, conn := dueToRefresh(t, w)
		links, err := connection.NewLinks(connection.LinksConfig{
			Org: func(id delegation.OrgID) connection.Store { return o.org(id) }, Providers: o.catalog, Now: w.clock.now,
			Vault: shredder{o.vault, func() { o.keeper.Ready(t.Context(), "acme", conn, nil) }},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := links.Shred(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		if now, err := o.links.Get(t.Context(), "acme", conn.ID); err != nil || now.Status != connection.StatusRevoked || connection.Holds(now) {
			t.Errorf("%+v %v", now, err)
		}
	})
}

// shredder is a vault whose key is destroyed just after something else was stored.
type shredder struct {
	*vault.Vault
	first func()
}

func (s shredder) Shred(ctx context.Context, org delegation.OrgID) error {
	s.first()
	return s.Vault.Shred(ctx, org)
}
