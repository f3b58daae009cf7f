package admin_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

// estate is a world with a second replica over the same store, and a resource that follows the feed and keeps the key set that it
// fetched at the start.
type estate struct {
	*exchangetest.World
	admin    admin.Session
	faults   faults
	ring     *keys.Ring
	hub      *revocation.Hub
	replica  *delegation.Verifier
	resource *delegation.Verifier
	set      *revocation.Set // of the resource
	sub      *revocation.Subscription
}

// faults are what fails, by step.
type faults struct{ step atomic.Pointer[string] }

var errFault = errors.New("a fault")

func (f *faults) at(step string) error {
	if now := f.step.Load(); now != nil && *now == step {
		return errFault
	}
	return nil
}

type faultyRevoke struct {
	admin.RevocationStore
	*faults
}

func (s faultyRevoke) Revoke(ctx context.Context, r store.Revocation) (uint64, error) {
	if err := s.at("revoke"); err != nil {
		return 0, err
	}
	n, err := s.RevocationStore.Revoke(ctx, r)
	return n, errors.Join(err, s.at("revoke, and the answer is lost"))
}

type faultyRing struct {
	*keys.Ring
	*faults
	reloads *atomic.Int64
}

func (r faultyRing) Reload(ctx context.Context) error {
	if r.reloads.Add(1)%2 == 1 { // the look before
		return r.Ring.Reload(ctx)
	}
	if err := r.at("successor"); err != nil {
		return err
	}
	return errors.Join(r.Ring.Reload(ctx), r.at("successor, and the answer is lost"))
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	w := exchangetest.NewWorld(t)
	e := &estate{World: w, set: revocation.NewSet(time.Hour)}
	cfg := w.Admin()
	cfg.Keys = faultyRing{w.Ring, &e.faults, new(atomic.Int64)}
	cfg.Revocations = func(id delegation.OrgID) admin.RevocationStore { return faultyRevoke{w.Store.Org(id), &e.faults} }
	cfg.Sync = func(ctx context.Context) error { return errors.Join(e.faults.at("sync"), w.Hub.Sync(ctx)) }
	var err error
	ok := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	service, err := admin.New(cfg)
	ok()
	e.admin = service.As(operator())
	second := revocation.NewSet(time.Hour)
	e.hub, err = revocation.NewHub(revocation.HubConfig{Store: w.Store, Set: second, Now: w.Clock.Now, Log: slog.New(slog.DiscardHandler)})
	ok()
	err = e.hub.Sync(t.Context())
	ok()
	e.ring, err = keys.Open(t.Context(), keys.Config{Store: w.Store, Key: w.Key, Burnt: second.Burnt, Now: w.Clock.Now, Policy: keys.Policy{
		Algorithm: jose.ES256, PublishAhead: time.Hour, ActiveFor: 30 * 24 * time.Hour, MaxTokenLife: time.Hour}})
	ok()
	e.replica, err = delegation.NewVerifier(delegation.VerifierConfig{Issuer: exchangetest.Issuer, AnyAudience: true, Keys: e.ring,
		Revocations: second, Now: w.Clock.Now})
	ok()
	e.set.Heard(w.Clock.Now())
	e.sub = e.hub.Subscribe()
	published, err := jose.ParseKeySet(w.Ring.JWKS())
	ok()
	e.resource, err = delegation.NewVerifier(delegation.VerifierConfig{Issuer: exchangetest.Issuer, Audience: exchangetest.Executor,
		Keys: delegation.StaticKeys(published), Revocations: e.set, Now: w.Clock.Now})
	ok()
	return e
}

// hear lets the others hear what the feed has.
func (e *estate) hear(t *testing.T) {
	t.Helper()
	if err := errors.Join(e.hub.Sync(t.Context()), e.Hub.Sync(t.Context())); err != nil {
		t.Fatal(err)
	}
	events, ok := e.sub.Take()
	if !ok {
		t.Fatal("cut off")
	}
	for _, event := range events {
		if event.Revocation != nil {
			e.set.Add(*event.Revocation)
		}
	}
}

func (e *estate) verifiers() map[string]*delegation.Verifier {
	return map[string]*delegation.Verifier{"the replica": e.Verifier, "the other replica": e.replica, "a resource with the old key set": e.resource}
}

// taken lists who takes a token.
func (e *estate) taken(t *testing.T, token string) []string {
	t.Helper()
	var out []string
	for name, v := range e.verifiers() {
		switch _, err := v.Verify(t.Context(), token); {
		case err == nil:
			out = append(out, name)
		case !errors.Is(err, delegation.ErrRevoked) && !errors.Is(err, delegation.ErrUnknownKey):
			t.Errorf("%s: %v", name, err)
		}
	}
	return out
}

func (e *estate) signer(t *testing.T, token string) string {
	t.Helper()
	m, err := jose.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	return m.KeyID()
}

func (e *estate) exchange(t *testing.T) (string, error) {
	t.Helper()
	r, err := e.Service.Exchange(t.Context(), e.Orchestrator.Credential(), exchangetest.FirstHop(e.IDP.IDToken(t, "alice", nil), "github:read"))
	return r.AccessToken, err
}

// TestBurnKeys: threat: key theft. After the call no token of a stolen key is taken: here, at the other replica and at a resource
// that holds the old key set, tokens that were verified before included; and the successor signs at once. Wherever a step fails,
// nothing is signed that is refused, and doing it again completes it.
func TestBurnKeys(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"", "revoke", "revoke, and the answer is lost", "sync", "successor", "successor, and the answer is lost"} {
		t.Run("fault at "+step, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			stolen, err := e.exchange(t)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.taken(t, stolen); len(got) != 3 {
				t.Fatalf("taken by %q before", got)
			}
			kid := e.signer(t, stolen)
			burn := func() (admin.KeysResult, error) {
				return e.admin.BurnKeys(t.Context(), admin.BurnRequest{KIDs: []string{kid}, Reason: "a backup was stolen"})
			}
			if step != "" {
				e.faults.step.Store(&step)
				if _, err := burn(); !errors.Is(err, errFault) {
					t.Fatalf("%v", err)
				}
				e.faults.step.Store(nil)
				e.hear(t)
				if between, err := e.exchange(t); err == nil && len(e.taken(t, between)) == 0 {
					t.Error("signed what nobody takes")
				} else if got := e.taken(t, stolen); len(got) != 0 && step != "revoke" {
					t.Errorf("the entry is written, and %q take it", got)
				}
			}
			done, err := burn()
			if err != nil || done.Sequence == 0 {
				t.Fatalf("%+v, %v", done, err)
			}
			if _, err := e.Verifier.Verify(t.Context(), stolen); err == nil {
				t.Error("the replica takes it after the call")
			}
			e.hear(t)
			if got := e.taken(t, stolen); len(got) != 0 {
				t.Errorf("taken by %q", got)
			}
			e.successorSigns(t, kid)
		})
	}
}

func (e *estate) successorSigns(t *testing.T, burnt string) {
	t.Helper()
	token, err := e.exchange(t)
	if err != nil || e.signer(t, token) == burnt {
		t.Fatalf("signed with %s: %v", e.signer(t, token), err)
	}
	if err := e.ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := e.taken(t, token); len(got) != 2 {
		t.Errorf("the successor's token is taken by %q", got)
	}
	for name, r := range map[string]*keys.Ring{"the replica": e.Ring, "the other replica": e.ring} {
		if strings.Contains(string(r.JWKS()), burnt) {
			t.Errorf("%s still publishes the key", name)
		}
		if _, err := r.Key(t.Context(), burnt, jose.ES256); !errors.Is(err, delegation.ErrUnknownKey) {
			t.Errorf("%s still knows the key: %v", name, err)
		}
	}
	records := e.Records(t, store.PlatformOrg)
	if len(records) == 0 || !strings.Contains(records[0].Detail, burnt) || !strings.Contains(records[0].Detail, "a backup was stolen") {
		t.Errorf("%+v", records)
	}
}

// TestTheOtherReplicaSignsNothingBurnt: between hearing of the theft and reading the keys, a replica refuses to sign.
func TestTheOtherReplicaSignsNothingBurnt(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	cfg := e.Config()
	cfg.Signer = e.ring
	var err error
	if e.Service, err = exchange.New(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := e.exchange(t); err != nil {
		t.Fatal(err)
	}
	kid := e.ring.Keys()[0].KID
	if _, err := e.admin.BurnKeys(t.Context(), admin.BurnRequest{KIDs: []string{kid}}); err != nil {
		t.Fatal(err)
	}
	e.hear(t)
	if token, err := e.exchange(t); err == nil {
		t.Errorf("signed with %s", e.signer(t, token))
	}
	if err := e.ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if token, err := e.exchange(t); err != nil || e.signer(t, token) == kid {
		t.Errorf("after reading the keys: %v", err)
	}
}

func TestBurnKeysRefuses(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	head := e.Hub.Head()
	for name, c := range map[string]struct {
		req  admin.BurnRequest
		want error
	}{
		"no key":          {admin.BurnRequest{}, admin.ErrInvalid},
		"no such key":     {admin.BurnRequest{KIDs: []string{"k"}}, admin.ErrNotFound},
		"one of them":     {admin.BurnRequest{KIDs: []string{e.Ring.Keys()[0].KID, "k"}}, admin.ErrNotFound},
		"no id":           {admin.BurnRequest{KIDs: []string{""}}, admin.ErrNotFound},
		"a reason of ...": {admin.BurnRequest{KIDs: []string{e.Ring.Keys()[0].KID}, Reason: strings.Repeat("x", 257)}, admin.ErrInvalid},
	} {
		if _, err := e.admin.BurnKeys(t.Context(), c.req); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := e.admin.Revoke(t.Context(), admin.RevokeRequest{Org: "acme", Kind: "key", ID: "k"}); !errors.Is(err, admin.ErrInvalid) {
		t.Errorf("an org revoked a key: %v", err)
	}
	e.hear(t)
	if e.Hub.Head() != head || len(e.Records(t, store.PlatformOrg)) != 0 {
		t.Error("something changed")
	}
}

// TestRetireKey: the only key that can sign stays; one that waits leaves; one that signs hands over as soon as it may.
func TestRetireKey(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	kid := e.Ring.Keys()[0].KID
	refused := func(kid string, want error) {
		t.Helper()
		if _, err := e.admin.RetireKey(t.Context(), kid, false); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	refused(kid, admin.ErrConflict)
	refused("k", admin.ErrNotFound)
	refused("", admin.ErrInvalid)
	waiting := func() []keys.Info {
		t.Helper()
		got, err := e.admin.RotateKeys(t.Context(), false)
		infos := got.Keys
		if err != nil || len(infos) != 2 || infos[0].State != keys.StatePublished || infos[0].Source != "store" {
			t.Fatalf("%+v, %v", infos, err)
		}
		return infos
	}
	got, err := e.admin.RetireKey(t.Context(), waiting()[0].KID, false)
	infos := got.Keys
	if err != nil || len(infos) != 2 || infos[0].State != keys.StateRetiring || infos[1].KID != kid || !infos[1].Deactivate.IsZero() {
		t.Fatalf("%+v, %v", infos, err)
	}
	refused(kid, admin.ErrConflict)
	e.Advance(t, 3*time.Hour)
	if err := e.Ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting()
	got, err = e.admin.RetireKey(t.Context(), kid, false)
	infos = got.Keys
	if err != nil || !slices.IsSortedFunc(infos, func(a, b keys.Info) int { return b.Activate.Compare(a.Activate) }) ||
		infos[1].Deactivate.Before(e.Clock.Now().Add(time.Hour)) {
		t.Errorf("it hands over before the successor was published for long enough: %+v, %v", infos, err)
	}
}
