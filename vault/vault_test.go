package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/vault"
)

const canary = "canary-credential-7f3a9c"

type fixture struct {
	vault *vault.Vault
	key   seal.Key
	db    *sqlite.Executor
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	db, err := sqlite.OpenExecutor(t.Context(), filepath.Join(t.TempDir(), "executor.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	key, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{key: key, db: db}
	f.vault = f.another(t)
	return f
}

// another is a second process on the same store.
func (f fixture) another(t *testing.T) *vault.Vault {
	t.Helper()
	v, err := vault.Open(vault.Config{Key: f.key, Org: func(id delegation.OrgID) vault.DataKeyStore { return f.db.Org(id) }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (f fixture) sealed(t *testing.T, org delegation.OrgID, id string, version int64) store.Connection {
	t.Helper()
	b, err := f.vault.Seal(t.Context(), org, id, version, vault.NewCredential("alice", []byte(canary)))
	if err != nil {
		t.Fatal(err)
	}
	return store.Connection{ID: id, Version: version, Sealed: b}
}

func opens(ctx context.Context, v *vault.Vault, org delegation.OrgID, c store.Connection) (string, error) {
	var got string
	err := v.Use(ctx, org, c, func(c vault.Credential) error {
		got = c.Username() + ":" + string(c.Reveal())
		return nil
	})
	return got, err
}

func TestUseLendsWhatWasSealed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.sealed(t, "acme", "github", 3)
	for name, v := range map[string]*vault.Vault{"the same process": f.vault, "another process": f.another(t)} {
		if got, err := opens(t.Context(), v, "acme", c); err != nil || got != "alice:"+canary {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	want := errors.New("of the callback")
	if err := f.vault.Use(t.Context(), "acme", c, func(vault.Credential) error { return want }); !errors.Is(err, want) {
		t.Errorf("the callback's error came back as %v", err)
	}
	if bytes.Contains(c.Sealed, []byte(canary)) {
		t.Error("the sealed bytes hold the credential")
	}
}

// TestPlaintextIsWiped: what the callback kept is zero when Use returns.
func TestPlaintextIsWiped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var kept []byte
	err := f.vault.Use(t.Context(), "acme", f.sealed(t, "acme", "github", 1), func(c vault.Credential) error {
		kept = c.Reveal()
		return nil
	})
	if err != nil || !bytes.Equal(kept, make([]byte, len(canary))) {
		t.Errorf("after Use the plaintext is %q (%v)", kept, err)
	}
}

// TestMovedRowDoesNotOpen: a row that is moved to another org, connection or version does not open, and neither does one
// with any byte changed or cut.
func TestMovedRowDoesNotOpen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := t.Context()
	row := f.sealed(t, "acme", "github", 7)
	f.sealed(t, "globex", "github", 7) // the other org has a data key too
	refused := func(what string, org delegation.OrgID, c store.Connection) {
		t.Helper()
		if got, err := opens(ctx, f.vault, org, c); !errors.Is(err, vault.ErrOpen) || got != "" {
			t.Errorf("%s: opened to %q, %v", what, got, err)
		}
	}
	refused("another org", "globex", row)
	refused("another connection", "acme", store.Connection{ID: "gitlab", Version: 7, Sealed: row.Sealed})
	refused("an older version", "acme", store.Connection{ID: "github", Version: 6, Sealed: row.Sealed})
	for i := range row.Sealed {
		changed := bytes.Clone(row.Sealed)
		changed[i] ^= 1 << (i % 8)
		refused(fmt.Sprintf("byte %d", i), "acme", store.Connection{ID: "github", Version: 7, Sealed: changed})
		refused(fmt.Sprintf("cut at %d", i), "acme", store.Connection{ID: "github", Version: 7, Sealed: row.Sealed[:i]})
	}
}

// TestAssociatedDataIsInjective: over any pair of places, a row opens in its own and in no other.
func TestAssociatedDataIsInjective(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	orgs := []delegation.OrgID{"a", "a-1", "acme"}
	ids := rapid.SampledFrom([]string{"a", "1", "a|1", "1|1", "x-1", ""})
	for _, o := range orgs {
		f.sealed(t, o, "x", 1)
	}
	rapid.Check(t, func(r *rapid.T) {
		type place struct {
			org     delegation.OrgID
			id      string
			version int64
		}
		draw := func(n string) place {
			return place{rapid.SampledFrom(orgs).Draw(r, n+" org"), ids.Draw(r, n+" id"), rapid.Int64Range(1, 12).Draw(r, n+" version")}
		}
		from, to := draw("from"), draw("to")
		sealed, err := f.vault.Seal(context.Background(), from.org, from.id, from.version, vault.NewCredential("", []byte(canary)))
		if err != nil {
			r.Fatal(err)
		}
		_, err = opens(context.Background(), f.vault, to.org, store.Connection{ID: to.id, Version: to.version, Sealed: sealed})
		if (err == nil) != (from == to) {
			r.Fatalf("sealed for %v, opened as %v: %v", from, to, err)
		}
	})
}

// TestShred: crypto-shredding. The data key is gone from the store, no process opens anything, another org is untouched, and
// what is sealed later has a new key.
func TestShred(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := t.Context()
	other := f.another(t)
	mine, theirs := f.sealed(t, "acme", "github", 1), f.sealed(t, "globex", "github", 1)
	if _, err := opens(ctx, other, "acme", mine); err != nil { // the other process has the key in its cache
		t.Fatal(err)
	}
	for range 2 {
		if err := f.vault.Shred(ctx, "acme"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.db.Org("acme").DataKey(ctx); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the data key is still stored: %v", err)
	}
	for name, v := range map[string]*vault.Vault{"here": f.vault, "another process": other} {
		if _, err := opens(ctx, v, "acme", mine); !errors.Is(err, vault.ErrDestroyed) {
			t.Errorf("%s: %v, want ErrDestroyed", name, err)
		}
	}
	if _, err := opens(ctx, f.vault, "globex", theirs); err != nil {
		t.Errorf("another org lost its credential: %v", err)
	}
	later := f.sealed(t, "acme", "github", 2)
	if _, err := opens(ctx, other, "acme", later); err != nil {
		t.Errorf("a credential sealed after the shredding: %v", err)
	}
	if _, err := opens(ctx, other, "acme", mine); !errors.Is(err, vault.ErrOpen) {
		t.Errorf("the old credential with the new key: %v", err)
	}
}

// TestDataKeyOfAnotherOrg: a data key row that was copied to another org does not unwrap there.
func TestDataKeyOfAnotherOrg(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := t.Context()
	c := f.sealed(t, "acme", "github", 1)
	row, err := f.db.Org("acme").DataKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.db.Org("globex").CreateDataKey(ctx, row); err != nil {
		t.Fatal(err)
	}
	if _, err := opens(ctx, f.vault, "globex", c); !errors.Is(err, vault.ErrOpen) {
		t.Errorf("a stolen data key: %v", err)
	}
}

// TestOneDataKeyUnderContention: many first writers of an org agree on one data key.
func TestOneDataKeyUnderContention(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rows := make(chan store.Connection, 16)
	for i := range cap(rows) {
		v := f.another(t)
		go func() {
			b, err := v.Seal(t.Context(), "acme", fmt.Sprint(i), 1, vault.NewCredential("", []byte(canary)))
			if err != nil {
				t.Error(err)
			}
			rows <- store.Connection{ID: fmt.Sprint(i), Version: 1, Sealed: b}
		}()
	}
	for range cap(rows) {
		if _, err := opens(t.Context(), f.vault, "acme", <-rows); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := t.Context()
	if _, err := vault.Open(vault.Config{Key: f.key}); err == nil {
		t.Error("Open without a store")
	}
	if _, err := vault.Open(vault.Config{Org: func(delegation.OrgID) vault.DataKeyStore { return nil }}); err == nil {
		t.Error("Open without a key")
	}
	for name, c := range map[string]vault.Credential{
		"empty":    vault.NewCredential("alice", nil),
		"too long": vault.NewCredential("", make([]byte, vault.MaxSecret+1)),
		"username": vault.NewCredential(strings.Repeat("a", vault.MaxSecret+1), []byte("x")),
	} {
		if _, err := f.vault.Seal(ctx, "acme", "github", 1, c); !errors.Is(err, vault.ErrCredential) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, org := range []delegation.OrgID{"", "ACME", "a|b", store.PlatformOrg} {
		if _, err := f.vault.Seal(ctx, org, "github", 1, vault.NewCredential("", []byte("x"))); err == nil {
			t.Errorf("sealed for org %q", org)
		}
		if err := f.vault.Shred(ctx, org); err == nil {
			t.Errorf("shredded org %q", org)
		}
	}
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := opens(ctx, f.vault, "acme", store.Connection{ID: "github", Version: 1}); !errors.Is(err, vault.ErrUnavailable) {
		t.Errorf("a store that is away: %v", err)
	}
	if err := f.vault.Shred(ctx, "acme"); !errors.Is(err, vault.ErrUnavailable) {
		t.Errorf("a store that is away: %v", err)
	}
}

func TestCredentialDoesNotPrint(t *testing.T) {
	t.Parallel()
	c := vault.NewCredential("alice", []byte(canary))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, &c, []vault.Credential{c}, struct{ C vault.Credential }{c}} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "canary") || strings.Contains(s, fmt.Sprintf("%x", canary)) || strings.Contains(s, "99 97 110") {
				t.Errorf("%s of %T prints %s", verb, v, s)
			}
		}
	}
	if _, err := c.MarshalText(); err == nil {
		t.Error("a credential marshals")
	}
	if s := c.LogValue().String(); strings.Contains(s, "canary") {
		t.Errorf("slog prints %s", s)
	}
}
