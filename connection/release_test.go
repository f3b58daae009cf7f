package connection_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/store"
)

// TestReleaseOfOneOfSeveral: a provider that ends all of an account's grants at once is not told of one while another is in use.
func TestReleaseOfOneOfSeveral(t *testing.T) {
	t.Parallel()
	own := func(account string) func(*store.Connection) {
		return func(c *store.Connection) { c.Account = account }
	}
	others := func(account string) func(*store.Connection) {
		return func(c *store.Connection) { c.Account, c.Subject = account, "user:acme/okta|bob" }
	}
	for _, tc := range []struct {
		name        string
		ends        string
		one, second func(*store.Connection)
		revoked     bool
	}{
		{"the same account", "account", own("ann@example.com"), own("ann@example.com"), false},
		{"the same account, which another user has connected", "account", own("team@example.com"), others("team@example.com"), false},
		{"another account of the user's", "account", own("ann@example.com"), own("ann@example.org"), true},
		{"an account of the user's that nobody knows", "account", own("ann@example.com"), own(""), false},
		{"an account of another user's that nobody knows", "account", own("ann@example.com"), others(""), true},
		{"the other has ended", "account", own("ann@example.com"), func(c *store.Connection) {
			c.Account, c.Status = "ann@example.com", connection.StatusRevoked
		}, true},
		{"the provider ends one grant alone", "grant", own("ann@example.com"), own("ann@example.com"), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			onBothEngines(t, func(t *testing.T, w *world) {
				a := newAuthority(t, "never", 0, w.clock.now)
				a.ends = tc.ends
				p := w.process(t, nil, http.DefaultTransport)
				p.setUp(t, "acme", a)
				one, refresh := p.connect(t, "acme", "one", a, w.clock.now().Add(time.Hour), tc.one)
				second, _ := p.connect(t, "acme", "second", a, w.clock.now().Add(time.Hour), tc.second)
				revoked, note := p.keeper.Release(t.Context(), "acme", one)
				_, _, alive := a.current(refresh)
				if revoked != tc.revoked || alive == tc.revoked || strings.Contains(note, "connection second") == tc.revoked {
					t.Errorf("revoked %t (%s), alive %t", revoked, note, alive)
				}
				if tc.revoked {
					return
				}
				if err := p.org("acme").DeleteConnection(t.Context(), one.ID, 0, w.clock.now()); err != nil {
					t.Fatal(err)
				}
				if revoked, note := p.keeper.Release(t.Context(), "acme", second); !revoked {
					t.Errorf("the last of them is not revoked: %s", note)
				}
			})
		})
	}
}
