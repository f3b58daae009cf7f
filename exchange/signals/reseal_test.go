package signals_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// credentials are those of one org, of which one is replaced meanwhile.
type credentials struct {
	list     []store.SignalCredential
	replaced string
	broken   error
}

func (c *credentials) SignalCredentials(context.Context) ([]store.SignalCredential, error) {
	return append([]store.SignalCredential(nil), c.list...), nil
}

func (c *credentials) ResealSignalCredential(_ context.Context, stream string, old, sealed []byte) error {
	if stream == c.replaced {
		return store.ErrConflict
	}
	for i := range c.list {
		if c.list[i].Stream == stream && bytes.Equal(c.list[i].Sealed, old) {
			c.list[i].Sealed = sealed
			return c.broken
		}
	}
	return store.ErrConflict
}

// TestReseal: each credential is sealed again as what it is; one that somebody replaced meanwhile is left alone, and one that is not
// what its row says stops it.
func TestReseal(t *testing.T) {
	t.Parallel()
	old, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	next, id, err := old.WithNew()
	if err == nil {
		next, err = next.SealingBy(id)
	}
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() *credentials {
		c := &credentials{}
		for _, stream := range []string{"a", "b", "c"} {
			sealed, err := old.Seal([]byte("bearer-"+stream), signals.CredentialBinding("acme", stream, "https://"+stream+".test"))
			if err != nil {
				t.Fatal(err)
			}
			c.list = append(c.list, store.SignalCredential{Stream: stream, Endpoint: "https://" + stream + ".test", Sealed: sealed})
		}
		return c
	}
	c := fresh()
	c.replaced = "b"
	if n, err := signals.Reseal(t.Context(), c, next, "acme"); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, s := range c.list {
		under, err := seal.Under(s.Sealed)
		if err != nil || (under == id) != (s.Stream != "b") {
			t.Errorf("%s: under %s, %v", s.Stream, under, err)
		}
		plain, err := next.Open(s.Sealed, signals.CredentialBinding("acme", s.Stream, s.Endpoint))
		if err != nil || string(plain) != "bearer-"+s.Stream {
			t.Errorf("%s: %v", s.Stream, err)
		}
	}
	c = fresh()
	c.list[1].Endpoint = "https://elsewhere.test"
	if n, err := signals.Reseal(t.Context(), c, next, "acme"); n != 1 || !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a moved credential: %d, %v", n, err)
	}
	c = fresh()
	c.broken = errors.New("a lost answer")
	if _, err := signals.Reseal(t.Context(), c, next, "acme"); !errors.Is(err, c.broken) {
		t.Errorf("%v", err)
	}
	c.broken = nil
	if n, err := signals.Reseal(t.Context(), c, next, "acme"); n != 2 || err != nil { // one was done, and its answer lost
		t.Errorf("again: %d, %v", n, err)
	}
}
