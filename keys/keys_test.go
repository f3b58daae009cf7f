package keys_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// memory is a store of signing keys, with faults of both kinds.
type memory struct {
	mu         sync.Mutex
	keys       []store.SigningKey
	generation int64
	before     error // fails before it takes effect
	after      error // takes effect, and then fails
}

func (m *memory) SigningKeys(context.Context) ([]store.SigningKey, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys), m.generation, m.before
}

func (m *memory) PutSigningKeys(_ context.Context, generation int64, keys []store.SigningKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if generation != m.generation {
		return store.ErrConflict
	}
	m.keys, m.generation = slices.Clone(keys), generation+1
	return m.after
}

func (m *memory) edit(f func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

var policy = keys.Policy{Algorithm: jose.ES256, PublishAhead: time.Hour, ActiveFor: 30 * 24 * time.Hour, MaxTokenLife: 15 * time.Minute}

// sound is a world without thieves.
func sound(string, time.Time) bool { return false }

func kek(t testing.TB) seal.Key {
	t.Helper()
	k, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t testing.TB, m *memory, key seal.Key, now func() time.Time) *keys.Ring {
	t.Helper()
	r, err := keys.Open(t.Context(), keys.Config{Store: m, Key: key, Policy: policy, Burnt: sound, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const issuer, audience = "https://sts.example", "https://executor.example"

func unsigned(t testing.TB, now time.Time, life time.Duration) delegation.Unsigned {
	t.Helper()
	scope, err := delegation.ParseScopes("github:issues:write")
	if err != nil {
		t.Fatal(err)
	}
	u, err := delegation.Root(delegation.Subject{ID: "user:acme/okta|00u1"}, delegation.Grant{
		Issuer: issuer, ClientID: "acme.orchestrator", Org: "acme", Actor: "agent:acme/orchestrator", Audience: audience,
		Scope: scope, ID: "jti-1", Transaction: "txn-1", Now: now, Life: life, MaxDepth: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func kid(t testing.TB, tokenText string) string {
	t.Helper()
	m, err := jose.Parse(tokenText)
	if err != nil {
		t.Fatal(err)
	}
	return m.KeyID()
}

// What a ring signs verifies from its published set alone, as at+jwt (AT1), and the set has public members only (MD6).
func TestSignedTokensVerify(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	r := open(t, &memory{}, kek(t), c.now)
	text, err := r.Sign(t.Context(), unsigned(t, c.now(), 5*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.ParseKeySet(r.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]delegation.KeySource{"the ring": r, "the published set": delegation.StaticKeys(set)} {
		v, err := delegation.NewVerifier(delegation.VerifierConfig{Issuer: issuer, Audience: audience, Keys: source,
			Revocations: delegation.NoRevocations, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, member := range []string{`"d"`, `"p"`, `"q"`, `"k"`} {
		if bytes.Contains(r.JWKS(), []byte(member)) {
			t.Errorf("the published set has %s", member)
		}
	}
	if _, err := r.Key(t.Context(), "none", jose.ES256); !errors.Is(err, delegation.ErrUnknownKey) {
		t.Errorf("an unknown key: %v", err)
	}
	jwks := r.JWKS()
	clear(jwks)
	if bytes.Equal(jwks, r.JWKS()) {
		t.Error("a caller can change the published set")
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	m := &memory{}
	r := open(t, m, kek(t), c.now)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Sign(ended, unsigned(t, c.now(), time.Minute)); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	if text, err := r.Sign(t.Context(), delegation.Unsigned{}); err == nil {
		t.Errorf("signed what no decision made: %s", text)
	}
	if _, err := r.Sign(t.Context(), unsigned(t, c.now(), policy.MaxTokenLife+2*time.Second)); !errors.Is(err, keys.ErrLife) {
		t.Errorf("a token that outlives its key: %v", err)
	}
	c.add(policy.PublishAhead + time.Second)
	if _, err := r.Sign(t.Context(), unsigned(t, c.now(), time.Minute)); !errors.Is(err, keys.ErrStale) {
		t.Errorf("a ring that has not heard from the store: %v", err)
	}
	if _, err := r.Key(t.Context(), "none", jose.ES256); !errors.Is(err, delegation.ErrUnavailable) {
		t.Errorf("a key that may exist by now: %v", err)
	}
	m.edit(func(m *memory) { m.before = errors.New("away") })
	if err := r.Reload(t.Context()); err == nil {
		t.Error("a store that is away went unnoticed")
	}
	m.edit(func(m *memory) { m.before = nil })
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sign(t.Context(), unsigned(t, c.now(), time.Minute)); err != nil {
		t.Errorf("after the store came back: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	good := keys.Config{Store: &memory{}, Key: kek(t), Policy: policy, Burnt: sound, Now: time.Now}
	for name, change := range map[string]func(*keys.Config){
		"no store":                     func(c *keys.Config) { c.Store = nil },
		"no key":                       func(c *keys.Config) { c.Key = seal.Key{} },
		"nobody to warn it":            func(c *keys.Config) { c.Burnt = nil },
		"no clock":                     func(c *keys.Config) { c.Now = nil },
		"no algorithm":                 func(c *keys.Config) { c.Policy.Algorithm = "" },
		"an unknown algorithm":         func(c *keys.Config) { c.Policy.Algorithm = "none" },
		"no publication":               func(c *keys.Config) { c.Policy.PublishAhead = 0 },
		"no time between publications": func(c *keys.Config) { c.Policy.ActiveFor = c.Policy.PublishAhead },
		"no token life":                func(c *keys.Config) { c.Policy.MaxTokenLife = 0 },
	} {
		cfg := good
		change(&cfg)
		if _, err := keys.Open(t.Context(), cfg); err == nil {
			t.Errorf("opened with %s", name)
		}
	}
}

// Threat: who can write to the store makes the STS publish or use a key of their own.
func TestStoredKeysAreBound(t *testing.T) {
	t.Parallel()
	key := kek(t)
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	var a, b memory
	open(t, &a, key, now)
	open(t, &b, key, now)
	for name, change := range map[string]func(*store.SigningKey){
		"another sealed key":  func(k *store.SigningKey) { k.Sealed = b.keys[0].Sealed },
		"another id":          func(k *store.SigningKey) { k.KID = b.keys[0].KID },
		"another algorithm":   func(k *store.SigningKey) { k.Algorithm = string(jose.EdDSA) },
		"a flipped bit":       func(k *store.SigningKey) { k.Sealed = bytes.Clone(k.Sealed); k.Sealed[len(k.Sealed)-1] ^= 1 },
		"a key in the clear":  func(k *store.SigningKey) { k.Sealed = []byte(`{"kty":"EC"}`) },
		"nothing in it":       func(k *store.SigningKey) { k.Sealed = nil },
		"the other's publics": func(k *store.SigningKey) { k.KID, k.Public = b.keys[0].KID, b.keys[0].Public },
	} {
		m := &memory{keys: slices.Clone(a.keys), generation: 1}
		change(&m.keys[0])
		_, err := keys.Open(t.Context(), keys.Config{Store: m, Key: key, Policy: policy, Burnt: sound, Now: now})
		if !errors.Is(err, keys.ErrSealed) {
			t.Errorf("%s: %v, want ErrSealed", name, err)
		}
	}
	m := &memory{keys: slices.Clone(a.keys), generation: 1}
	m.keys[0].Public = b.keys[0].Public
	r := open(t, m, key, now)
	if bytes.Contains(r.JWKS(), b.keys[0].Public) || !bytes.Contains(r.JWKS(), []byte(a.keys[0].KID)) {
		t.Errorf("published the public column: %s", r.JWKS())
	}
	other := keys.Config{Store: m, Key: kek(t), Policy: policy, Burnt: sound, Now: now}
	if _, err := keys.Open(t.Context(), other); !errors.Is(err, keys.ErrSealed) {
		t.Errorf("another key-encryption key: %v", err)
	}
}

func TestPrivateKeysAreSealed(t *testing.T) {
	t.Parallel()
	m := &memory{}
	open(t, m, kek(t), time.Now)
	stored := m.keys[0]
	if bytes.Contains(stored.Sealed, []byte(`"d"`)) || bytes.Contains(stored.Public, []byte(`"d"`)) {
		t.Error("a private key is stored in the clear")
	}
	if !strings.Contains(string(stored.Public), stored.KID) {
		t.Errorf("the public key has no kid: %s", stored.Public)
	}
}

// Replicas that start or rotate at the same moment agree, and make one key.
func TestReplicasAgree(t *testing.T) {
	t.Parallel()
	const replicas = 8
	key, m, c := kek(t), &memory{}, &clock{at: time.Now()}
	rings := make([]*keys.Ring, replicas)
	together := func(do func(i int) error) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range replicas {
			wg.Go(func() {
				if err := do(i); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	agree := func(want int) {
		t.Helper()
		if len(m.keys) != want {
			t.Fatalf("%d keys, want %d", len(m.keys), want)
		}
		together(func(i int) error { return rings[i].Reload(t.Context()) })
		var signers []string
		for _, r := range rings {
			text, err := r.Sign(t.Context(), unsigned(t, c.now(), time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			signers = append(signers, kid(t, text))
		}
		if len(slices.Compact(signers)) != 1 {
			t.Fatalf("replicas sign with %v", signers)
		}
	}
	together(func(i int) (err error) {
		rings[i], err = keys.Open(t.Context(), keys.Config{Store: m, Key: key, Policy: policy, Burnt: sound, Now: c.now})
		return err
	})
	agree(1)
	c.add(policy.ActiveFor - policy.PublishAhead)
	together(func(i int) error { return rings[i].Reload(t.Context()) })
	agree(2)
	c.add(policy.PublishAhead)
	together(func(i int) error { return rings[i].Rotate(t.Context()) })
	agree(3)
}

// A write that took effect and was reported as failed is found again, and not repeated.
func TestWriteWithLostAnswer(t *testing.T) {
	t.Parallel()
	m, key := &memory{after: errors.New("connection reset")}, kek(t)
	if _, err := keys.Open(t.Context(), keys.Config{Store: m, Key: key, Policy: policy, Burnt: sound, Now: time.Now}); err == nil {
		t.Fatal("a failed write went unnoticed")
	}
	m.edit(func(m *memory) { m.after = nil })
	first := m.keys[0].KID
	r := open(t, m, key, time.Now)
	if infos := r.Keys(); len(infos) != 1 || infos[0].KID != first {
		t.Errorf("%+v", infos)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	c, m := &clock{at: time.Now()}, &memory{}
	r := open(t, m, kek(t), c.now)
	states := func(want ...keys.State) {
		t.Helper()
		var got []keys.State
		for _, i := range r.Keys() {
			got = append(got, i.State)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	states(keys.StateActive)
	if err := r.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	states(keys.StateActive, keys.StatePublished)
	c.add(policy.PublishAhead)
	states(keys.StateRetiring, keys.StateActive)
	c.add(policy.MaxTokenLife + keys.Skew)
	states(keys.StateRetired, keys.StateActive)
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	states(keys.StateActive)
}

// Run rotates by itself for a quarter: a token that was signed at any hour verifies for as long as it lives.
func TestRunForMonths(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m, key := &memory{}, kek(t)
		a, b := open(t, m, key, time.Now), open(t, m, key, time.Now)
		var wg sync.WaitGroup
		for _, r := range []*keys.Ring{a, b} {
			wg.Go(func() {
				if err := r.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		signers := map[string]bool{}
		for range 92 * 24 {
			text, err := a.Sign(ctx, unsigned(t, time.Now(), policy.MaxTokenLife))
			if err != nil {
				t.Fatal(err)
			}
			signers[kid(t, text)] = true
			time.Sleep(policy.MaxTokenLife)
			if _, err := b.Key(ctx, kid(t, text), jose.ES256); err != nil {
				t.Fatalf("%s: the key of a live token is gone: %v", time.Now(), err)
			}
			time.Sleep(time.Hour - policy.MaxTokenLife)
		}
		cancel()
		wg.Wait()
		if len(signers) != 4 {
			t.Errorf("%d keys signed in three months of 30 days each", len(signers))
		}
	})
}

func BenchmarkSign(b *testing.B) {
	r := open(b, &memory{}, kek(b), time.Now)
	u := unsigned(b, time.Now(), 5*time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Sign(b.Context(), u); err != nil {
			b.Fatal(err)
		}
	}
}
