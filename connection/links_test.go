package connection_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/vault"
)

type fixture struct {
	db      *sqlite.Executor
	vault   *vault.Vault
	catalog *connection.Catalog
	links   *connection.Links
}

func newFixture(t *testing.T, allowLoopback bool) fixture {
	t.Helper()
	var f fixture
	var err error
	if f.db, err = sqlite.OpenExecutor(t.Context(), filepath.Join(t.TempDir(), "executor.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.db.Close() })
	key, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	if f.vault, err = vault.Open(vault.Config{Key: key, Org: func(id delegation.OrgID) vault.DataKeyStore { return f.db.Org(id) }}); err != nil {
		t.Fatal(err)
	}
	f.catalog, err = connection.NewCatalog(connection.CatalogConfig{
		Org: func(id delegation.OrgID) connection.ProviderStore { return f.db.Org(id) }, AllowLoopback: allowLoopback,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.links, err = connection.NewLinks(connection.LinksConfig{
		Org: func(id delegation.OrgID) connection.Store { return f.db.Org(id) }, Providers: f.catalog, Vault: f.vault, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// put proposes a link and stores it.
func (f fixture) put(ctx context.Context, org delegation.OrgID, k connection.Link) (store.Connection, error) {
	p, err := f.links.Propose(ctx, org, k)
	if err != nil {
		return store.Connection{}, err
	}
	return p.After, f.links.Put(ctx, org, p)
}

func link(id, pattern, subject string) connection.Link {
	k := connection.Link{ID: id, Provider: "example", Pattern: connection.Pattern(pattern), Subject: subject,
		Credential: vault.NewCredential("", []byte("canary-credential"))}
	if pattern == "basic" {
		k.Credential = vault.NewCredential("alice", []byte("canary-credential"))
	}
	return k
}

func TestPutConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false)
	ctx := t.Context()
	const alice = "user:acme/okta|alice"
	first, err := f.put(ctx, "acme", link("alice", "api_key", alice))
	if err != nil || first.Version != 1 || first.Status != connection.StatusActive {
		t.Fatalf("%+v %v", first, err)
	}
	again, err := f.put(ctx, "acme", link("alice", "api_key", alice))
	if err != nil || again.Version != 2 || !again.Created.Equal(first.Created) {
		t.Fatalf("%+v %v", again, err)
	}
	for _, k := range []connection.Link{link("shared", "developer_secret", ""), link("basic", "basic", alice),
		link("service", "api_key", "service:acme/reporting")} {
		if _, err := f.put(ctx, "acme", k); err != nil {
			t.Error(err)
		}
	}
	stored, err := f.db.Org("acme").Connection(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.vault.Use(ctx, "acme", stored, func(c vault.Credential) error {
		if string(c.Reveal()) != "canary-credential" {
			t.Error("another credential")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	for name, k := range map[string]connection.Link{
		"id":                        link("Alice!", "api_key", alice),
		"provider":                  {ID: "x", Provider: "nobody", Pattern: "api_key", Subject: alice},
		"pattern":                   link("x", "oauth", alice),
		"shared with an owner":      link("x", "developer_secret", alice),
		"key without an owner":      link("x", "api_key", ""),
		"owner of another org":      link("x", "api_key", "user:globex/okta|alice"),
		"service of another org":    link("x", "api_key", "service:globex/reporting"),
		"owner that is an agent":    link("x", "api_key", "agent:acme/researcher"),
		"another owner, same id":    link("alice", "api_key", "user:acme/okta|bob"),
		"another pattern, same id":  link("alice", "developer_secret", ""),
		"secret too short to scrub": {ID: "x", Provider: "example", Pattern: "api_key", Subject: alice, Credential: vault.NewCredential("", []byte("1234567"))},
		"secret too long":           {ID: "x", Provider: "example", Pattern: "api_key", Subject: alice, Credential: vault.NewCredential("", make([]byte, vault.MaxSecret+1))},
		"newline behind the secret": {ID: "x", Provider: "example", Pattern: "api_key", Subject: alice, Credential: vault.NewCredential("", []byte("canary-credential\n"))},
		"basic without a name":      {ID: "x", Provider: "example", Pattern: "basic", Subject: alice, Credential: vault.NewCredential("", []byte("canary-credential"))},
		"name without basic":        {ID: "x", Provider: "example", Pattern: "api_key", Subject: alice, Credential: vault.NewCredential("alice", []byte("canary-credential"))},
		"colon in the name":         {ID: "x", Provider: "example", Pattern: "basic", Subject: alice, Credential: vault.NewCredential("a:b", []byte("canary-credential"))},
	} {
		if _, err := f.put(ctx, "acme", k); !errors.Is(err, connection.ErrInvalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.links.Delete(ctx, "acme", "alice", 0); err != nil {
		t.Error(err)
	}
	if err := f.links.Delete(ctx, "acme", "alice", 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if err := f.links.Delete(ctx, "globex", "basic", 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted from another org: %v", err)
	}
	list, err := f.links.List(ctx, "acme")
	if err != nil || len(list) != 3 || list[0].ID != "basic" || list[1].ID != "service" || list[2].ID != "shared" {
		t.Errorf("%+v %v", list, err)
	}
}

func TestShredMarksConnections(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false)
	ctx := t.Context()
	for _, k := range []connection.Link{link("a", "developer_secret", ""), link("b", "api_key", "user:acme/okta|alice")} {
		if _, err := f.put(ctx, "acme", k); err != nil {
			t.Fatal(err)
		}
	}
	for want := range []int{2, 0} {
		lost, err := f.links.Shred(ctx, "acme")
		if err != nil || lost != 2-2*want {
			t.Errorf("lost %d, %v", lost, err)
		}
	}
	list, err := f.links.List(ctx, "acme")
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, c := range list {
		if c.Status != connection.StatusRevoked || len(c.Sealed) != 0 {
			t.Errorf("%+v", c)
		}
	}
	if _, err := f.put(ctx, "acme", link("b", "api_key", "user:acme/okta|alice")); err != nil {
		t.Errorf("connecting again: %v", err)
	}
}

// TestChoose: EX7. A user's connection is used for that subject and nobody else, whoever names it.
func TestChoose(t *testing.T) {
	t.Parallel()
	conn := func(id, pattern, subject, status string) store.Connection {
		c := store.Connection{ID: id, Provider: "example", Pattern: pattern, Subject: subject, Status: status}
		if status == "active" {
			c.Sealed = []byte("sealed")
		}
		return c
	}
	const alice, bob = "user:acme/okta|alice", "user:acme/okta|bob"
	all := []store.Connection{
		conn("a1", "api_key", alice, "active"), conn("b1", "api_key", bob, "active"), conn("b2", "basic", bob, "active"),
		conn("shared", "developer_secret", "", "active"), conn("gone", "api_key", "user:acme/okta|eve", "revoked"),
		{ID: "other", Provider: "github", Pattern: "api_key", Subject: alice, Status: "active", Sealed: []byte("sealed")},
		conn("ownerless", "api_key", "", "active"), // a row that Put would never store
		conn("asked", "oauth", "user:acme/okta|dan", "pending"), conn("old", "oauth", "user:acme/okta|fay", "expired"),
	}
	for _, c := range []struct {
		name, subject, id, want string
		err                     error
	}{
		{"own", alice, "", "a1", nil},
		{"own by name", alice, "a1", "a1", nil},
		{"shared by name", alice, "shared", "shared", nil},
		{"somebody else's by name", alice, "b1", "", connection.ErrNoConnection},
		{"another provider's by name", alice, "other", "", connection.ErrNoConnection},
		{"ownerless by name", alice, "ownerless", "", connection.ErrNoConnection},
		{"unknown", alice, "nothing", "", connection.ErrNoConnection},
		{"several", bob, "", "", connection.ErrSeveral},
		{"several, one named", bob, "b2", "b2", nil},
		{"none of one's own", "user:acme/okta|carol", "", "shared", nil},
		{"the same name in another org", "user:globex/okta|alice", "a1", "", connection.ErrNoConnection},
		{"one's own is revoked", "user:acme/okta|eve", "", "gone", connection.ErrRevoked},
		{"one's own has expired", "user:acme/okta|fay", "", "old", connection.ErrExpired},
		{"asked for, and not connected yet: the org's meanwhile", "user:acme/okta|dan", "", "shared", nil},
		{"asked for, and not connected yet", "user:acme/okta|dan", "asked", "asked", connection.ErrNoConnection},
		{"somebody else was asked", alice, "asked", "", connection.ErrNoConnection},
		{"no subject", "", "ownerless", "", connection.ErrNoConnection},
	} {
		got, err := connection.Choose(all, "example", c.subject, c.id)
		if got.ID != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", c.name, got.ID, err)
		}
	}
}

const own = `
name: example
base_url: https://own.example.com
auth: {api_key: {style: bearer}}
scopes: {"example:read": Read.}
tools:
  - {name: ping, description: Ping., method: GET, path: /ping, risk: read, scopes: ["example:read"], arguments: {type: object, additionalProperties: false}}
`

func TestCatalog(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false)
	ctx := t.Context()
	names := func(org delegation.OrgID) string {
		t.Helper()
		providers, err := f.catalog.Providers(ctx, org)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, p := range providers {
			out = append(out, p.Name())
		}
		if !slices.IsSorted(out) {
			t.Errorf("not in name order: %v", out)
		}
		return strings.Join(out, " ")
	}
	put := func(f fixture, records []store.ProviderRecord) error {
		t.Helper()
		seen, err := f.catalog.Records(ctx, "acme")
		if err != nil {
			t.Fatal(err)
		}
		return f.catalog.Put(ctx, "acme", seen, records)
	}
	builtin := names("globex")
	if got := names("acme"); got != builtin || !strings.Contains(builtin, "example") {
		t.Errorf("built-in: %s", got)
	}
	records := []store.ProviderRecord{
		{Name: "own.yaml", Text: []byte(own)},
		{Name: "more.yaml", Text: []byte(strings.ReplaceAll(own, "example:", "zz:") + "\n#")},
	}
	records[1].Text = []byte(strings.Replace(string(records[1].Text), "name: example", "name: zz", 1))
	if err := put(f, records); err != nil {
		t.Fatal(err)
	}
	for org, has := range map[delegation.OrgID]bool{"acme": true, "globex": false} {
		_, pinged, err := f.catalog.Tool(ctx, org, "example.ping")
		_, listed, err2 := f.catalog.Tool(ctx, org, "example.list_notes")
		if pinged != has || listed == has || err != nil || err2 != nil {
			t.Errorf("%s: own %v, built-in %v, %v %v", org, pinged, listed, err, err2)
		}
	}
	if got := names("acme"); got != builtin+" zz" {
		t.Errorf("own and built-in: %s", got)
	}
	for name, text := range map[string]string{
		"loopback":     strings.Replace(own, "https://own.example.com", "http://127.0.0.1:9", 1),
		"unparsable":   "name: [",
		"another name": strings.Replace(own, "example", "exa mple", 1),
	} {
		if err := put(f, []store.ProviderRecord{{Name: "x.yaml", Text: []byte(text)}}); !errors.Is(err, connection.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := put(f, []store.ProviderRecord{{Name: "a", Text: []byte(own)}, {Name: "b", Text: []byte(own)}}); !errors.Is(err, connection.ErrRecord) {
		t.Errorf("the same provider twice: %v", err)
	}
	if err := f.catalog.Put(ctx, "acme", records[:1], nil); !errors.Is(err, store.ErrConflict) {
		t.Errorf("another set was seen: %v", err)
	}
	if got := names("acme"); got != builtin+" zz" {
		t.Errorf("a refused set changed something: %s", got)
	}
	if err := put(f, nil); err != nil || names("acme") != builtin {
		t.Errorf("taking the own records away: %v", err)
	}
	dev := newFixture(t, true)
	local := strings.Replace(own, "https://own.example.com", "http://127.0.0.1:9", 1)
	if err := put(dev, []store.ProviderRecord{{Name: "x.yaml", Text: []byte(local)}}); err != nil {
		t.Errorf("loopback where the operator allows it: %v", err)
	}
}

// TestStoredRecordsThatDoNotParse: a record that another version let in makes its org's providers an error, not a silence.
func TestStoredRecordsThatDoNotParse(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false)
	ctx := context.Background()
	if err := f.db.Org("acme").PutProviders(ctx, nil, []store.ProviderRecord{{Name: "x.yaml", Text: []byte("name: x")}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.catalog.Tool(ctx, "acme", "example.list_notes"); !errors.Is(err, connection.ErrRecord) {
		t.Errorf("got %v", err)
	}
	if _, ok, err := f.catalog.Tool(ctx, "globex", "example.list_notes"); err != nil || !ok {
		t.Errorf("another org: %v %v", ok, err)
	}
}
