package delegation_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/jose"
)

// config is a good VerifierConfig for the issuer's tokens.
func config(i *delegationtest.Issuer) delegation.VerifierConfig {
	return delegation.VerifierConfig{
		Issuer: i.URL(), Audience: delegationtest.Audience, Keys: delegation.StaticKeys(i.Keys()),
		Revocations: delegation.NoRevocations, Now: i.Now,
	}
}

func newVerifier(t testing.TB, c delegation.VerifierConfig) *delegation.Verifier {
	t.Helper()
	v, err := delegation.NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestNewVerifierRefuses: what security needs has no default.
func TestNewVerifierRefuses(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	for name, change := range map[string]func(*delegation.VerifierConfig){
		"no issuer":          func(c *delegation.VerifierConfig) { c.Issuer = "" },
		"no audience":        func(c *delegation.VerifierConfig) { c.Audience = "" },
		"both audiences":     func(c *delegation.VerifierConfig) { c.AnyAudience = true },
		"no keys":            func(c *delegation.VerifierConfig) { c.Keys = nil },
		"no revocations":     func(c *delegation.VerifierConfig) { c.Revocations = nil },
		"leeway over 60 s":   func(c *delegation.VerifierConfig) { c.Leeway = 61 * time.Second },
		"depth over 10":      func(c *delegation.VerifierConfig) { c.MaxDepth = 11 },
		"depth under 0":      func(c *delegation.VerifierConfig) { c.MaxDepth = -1 },
		"the zero of itself": func(c *delegation.VerifierConfig) { *c = delegation.VerifierConfig{} },
	} {
		c := config(i)
		change(&c)
		if _, err := delegation.NewVerifier(c); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	c := config(i)
	c.Now = nil
	newVerifier(t, c)
}

// TestVerified: the short answers are those of the claims.
func TestVerified(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v, err := newVerifier(t, config(i)).Verify(t.Context(), i.Token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	c := v.Claims()
	for name, pair := range map[string][2]string{
		"subject": {v.Subject(), "user:acme/okta|alice"}, "actor": {v.Actor(), "agent:acme/researcher"},
		"client": {v.ClientID(), "acme.orchestrator"}, "org": {string(v.OrgID()), "acme"},
		"audience": {v.Audience(), delegationtest.Audience}, "scope": {v.Scope().String(), "issues:read issues:write"},
		"chain": {strings.Join(v.Chain(), " "), "agent:acme/researcher agent:acme/orchestrator"},
		"depth": {fmt.Sprint(v.Depth()), "2"}, "id": {v.ID(), c.ID}, "txn": {v.Transaction(), c.Transaction},
		"expiry": {v.Expiry().String(), noon.Add(5 * time.Minute).String()},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", name, pair[0], pair[1])
		}
	}
}

// TestNoKeyID (JW3): a token without kid is refused, even where only one key could be meant.
func TestNoKeyID(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	good := i.Token(t, nil)
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt"}`))
	_, err := newVerifier(t, config(i)).Verify(t.Context(), header+good[strings.IndexByte(good, '.'):])
	if !errors.Is(err, delegation.ErrUnknownKey) {
		t.Errorf("got %v, want ErrUnknownKey", err)
	}
}

// TestTimes: the edges of exp, nbf and iat (AT7, JW11), with the default leeway of 5 s.
func TestTimes(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	verifier := newVerifier(t, config(i))
	for name, c := range map[string]struct {
		change func(*delegation.Claims)
		want   error
	}{
		"expired by 4 s, within leeway": {func(c *delegation.Claims) { move(c, -5*time.Minute-4*time.Second) }, nil},
		"expired by the leeway":         {func(c *delegation.Claims) { move(c, -5*time.Minute-5*time.Second) }, delegation.ErrExpired},
		"expired by an hour":            {func(c *delegation.Claims) { move(c, -time.Hour) }, delegation.ErrExpired},
		"issued 10 s ahead":             {func(c *delegation.Claims) { move(c, 10*time.Second) }, nil},
		"issued 11 s ahead":             {func(c *delegation.Claims) { move(c, 11*time.Second) }, delegation.ErrNotYetValid},
		"valid from now":                {func(c *delegation.Claims) { c.NotBefore = noon }, nil},
		"valid in 61 s":                 {func(c *delegation.Claims) { c.NotBefore = noon.Add(61 * time.Second) }, delegation.ErrNotYetValid},
	} {
		if _, err := verifier.Verify(t.Context(), i.Token(t, c.change)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	strict := config(i)
	strict.Leeway = -1
	if _, err := newVerifier(t, strict).Verify(t.Context(), i.Token(t, func(c *delegation.Claims) {
		move(c, -5*time.Minute)
	})); !errors.Is(err, delegation.ErrExpired) {
		t.Errorf("without leeway: %v", err)
	}
}

func move(c *delegation.Claims, by time.Duration) {
	c.IssuedAt, c.Expiry = c.IssuedAt.Add(by), c.Expiry.Add(by)
}

// switchable is what can change after a token was remembered.
type switchable struct {
	now     atomic.Pointer[time.Time]
	revoked atomic.Pointer[error]
	burnt   atomic.Pointer[string] // kid
	keys    atomic.Pointer[delegation.KeySource]
	asked   atomic.Int64
}

func (s *switchable) Key(ctx context.Context, kid string, alg jose.Algorithm) (jose.Key, error) {
	return (*s.keys.Load()).Key(ctx, kid, alg)
}

func (s *switchable) CheckKey(kid string, _ time.Time) error {
	if burnt := s.burnt.Load(); burnt != nil && *burnt == kid {
		return delegation.ErrRevoked
	}
	return nil
}

func (s *switchable) Check(*delegation.Claims, time.Time) error {
	s.asked.Add(1)
	if err := s.revoked.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *switchable) setKeys(k delegation.KeySource) { s.keys.Store(&k) }
func (s *switchable) setNow(now time.Time)           { s.now.Store(&now) }

func (s *switchable) revoke(err error) {
	if err == nil {
		s.revoked.Store(nil)
		return
	}
	s.revoked.Store(&err)
}

// failingKeys cannot know.
type failingKeys struct{}

func (failingKeys) Key(context.Context, string, jose.Algorithm) (jose.Key, error) {
	return jose.Key{}, fmt.Errorf("%w: the issuer is away", delegation.ErrUnavailable)
}

// TestRememberedIsAskedAnew: a remembered token is refused as soon as it expires, is revoked, or its key is withdrawn, and
// when that cannot be known; and it is good again when the doubt is over. Without memory it is the same.
func TestRememberedIsAskedAnew(t *testing.T) {
	t.Parallel()
	for name, remember := range map[string]int{"remembered": 10, "not remembered": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			s := &switchable{}
			s.setKeys(delegation.StaticKeys(i.Keys()))
			s.setNow(noon)
			c := config(i)
			c.Keys, c.Revocations, c.Remember, c.Now = s, s, remember, func() time.Time { return *s.now.Load() }
			verifier, token := newVerifier(t, c), i.Token(t, nil)
			expect := func(what string, want error) {
				t.Helper()
				if _, err := verifier.Verify(t.Context(), token); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", what, err, want)
				}
			}
			expect("first", nil)
			expect("again", nil)
			if n := s.asked.Load(); n != 2 {
				t.Errorf("revocation was asked %d times for 2 uses", n)
			}
			s.revoke(fmt.Errorf("%w: agent", delegation.ErrRevoked))
			expect("revoked", delegation.ErrRevoked)
			s.revoke(fmt.Errorf("%w: stale", delegation.ErrUnavailable))
			expect("stale revocations", delegation.ErrUnavailable)
			s.revoke(nil)
			expect("no longer", nil)
			kid := i.Keys().Keys()[0].KeyID()
			s.burnt.Store(&kid)
			expect("its key is in wrong hands", delegation.ErrRevoked)
			s.burnt.Store(nil)
			expect("it was another key", nil)
			s.setKeys(failingKeys{})
			expect("keys cannot be known", delegation.ErrUnavailable)
			s.setKeys(delegation.StaticKeys(jose.KeySet{}))
			expect("key withdrawn", delegation.ErrUnknownKey)
			s.setKeys(delegation.StaticKeys(i.Keys()))
			expect("key is back", nil)
			other := newKeyWithID(t, i.Keys().Keys()[0].KeyID())
			s.setKeys(delegation.StaticKeys(jose.NewKeySet(other)))
			expect("another key under the same kid (JW3)", delegation.ErrSignature)
			s.setKeys(delegation.StaticKeys(i.Keys()))
			expect("key is back again", nil)
			s.setNow(noon.Add(5*time.Minute + 5*time.Second))
			expect("expired", delegation.ErrExpired)
			s.setNow(noon)
			expect("clock set back", nil)
		})
	}
}

func newKeyWithID(t testing.TB, kid string) jose.Key {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	k, err := jose.NewKey(kid, jose.ES256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestMemoryIsBounded: more tokens than are remembered are all verified right, by many at once.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := config(i)
	c.Remember = 4
	verifier := newVerifier(t, c)
	var tokens, ids []string
	for range 16 {
		token := i.Token(t, func(c *delegation.Claims) { ids = append(ids, c.ID) })
		tokens = append(tokens, token)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for n := range 64 {
				v, err := verifier.Verify(t.Context(), tokens[n%len(tokens)])
				if err != nil || v.ID() != ids[n%len(ids)] {
					t.Errorf("token %d: %s, %v", n, v.ID(), err)
				}
			}
		})
	}
	group.Wait()
}

// TestRememberedCost: under 20 allocations. The time is the benchmark's.
func TestRememberedCost(t *testing.T) {
	i := newIssuer(t)
	verifier, token, ctx := newVerifier(t, config(i)), i.Token(t, nil), t.Context()
	if allocs := testing.AllocsPerRun(100, func() {
		if _, err := verifier.Verify(ctx, token); err != nil {
			t.Error(err)
		}
	}); allocs >= 20 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestAnyAudience: only the STS asks for this (C4).
func TestAnyAudience(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	token := i.Token(t, func(c *delegation.Claims) { c.Audience = "https://elsewhere.test" })
	if _, err := newVerifier(t, config(i)).Verify(t.Context(), token); !errors.Is(err, delegation.ErrAudience) {
		t.Errorf("a service took it: %v", err)
	}
	c := config(i)
	c.Audience, c.AnyAudience = "", true
	if v, err := newVerifier(t, c).Verify(t.Context(), token); err != nil || v.Audience() != "https://elsewhere.test" {
		t.Errorf("the STS refused it: %v", err)
	}
}

// TestEveryByteCounts: a token with any one byte changed, added or taken away is refused, in every algorithm that we sign
// with. That takes strict base64url: the last character of a part has bits that a lax reader drops (JW8).
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	for _, alg := range []jose.Algorithm{jose.ES256, jose.EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			s := signer(t, "k", alg)
			payload, err := i.Claims().MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			token, err := s.Sign(delegation.TokenType, payload)
			if err != nil {
				t.Fatal(err)
			}
			c := config(i)
			c.Keys = delegation.StaticKeys(jose.NewKeySet(s.Key()))
			verifier := newVerifier(t, c)
			refused := func(changed, how string, at int) {
				if _, err := verifier.Verify(t.Context(), changed); err == nil {
					t.Errorf("byte %d %s, and the token was taken", at, how)
				}
			}
			const replacements = "AQgw-_Z9.=\n"
			for at := range len(token) {
				refused(token[:at]+token[at+1:], "removed", at)
				replacement := replacements[at%len(replacements)]
				refused(token[:at]+string(replacement)+token[at:], "preceded by another", at)
				for _, bit := range []byte{1, 2, 16} { // low bits reach the trailing ones
					if changed := token[at] ^ bit; changed != token[at] {
						refused(token[:at]+string(changed)+token[at+1:], "changed", at)
					}
				}
			}
			refused(token+"A", "appended", len(token))
			refused(token+"\n", "appended", len(token))
			if _, err := verifier.Verify(t.Context(), token); err != nil {
				t.Errorf("the token itself: %v", err)
			}
		})
	}
}

func signer(t testing.TB, kid string, alg jose.Algorithm) jose.Signer {
	t.Helper()
	key, err := jose.Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(kid, alg, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestErrorsHoldNoToken: no part of a token is in an error.
func TestErrorsHoldNoToken(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	verifier := newVerifier(t, config(i))
	good := i.Token(t, nil)
	for _, token := range []string{
		good[:len(good)-3] + "AAA", good + "." + good, "canary7Q." + good, i.Sign(t, "JWT", []byte(`{"sub":"canary7Q"}`)),
		i.Sign(t, delegation.TokenType, []byte(`{"exp":"canary7Q"}`)), i.Sign(t, delegation.TokenType, []byte(`{"canary7Q`)),
		i.Token(t, func(c *delegation.Claims) { c.ACR = "canary7Q\n" }),
	} {
		_, err := verifier.Verify(t.Context(), token)
		if err == nil {
			t.Fatal("taken")
		}
		for _, part := range append(strings.Split(good, "."), "canary7Q") {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%v holds a part of the token", err)
			}
		}
		if text := delegation.Describe(err); text == "" || text == "not valid" || strings.ContainsAny(text, `"\`) {
			t.Errorf("%v is described as %q", err, text)
		}
	}
	if delegation.Describe(nil) != "" || delegation.Describe(errors.New("x")) != "not valid" {
		t.Error("Describe of what is not ours")
	}
}

// TestContext: only a verified token comes out.
func TestContext(t *testing.T) {
	t.Parallel()
	if _, ok := delegation.FromContext(t.Context()); ok {
		t.Error("an empty context has a token")
	}
	if _, ok := delegation.FromContext(delegation.NewContext(t.Context(), delegation.Verified{})); ok {
		t.Error("the zero Verified counts")
	}
	v := newIssuer(t).Verified(t, nil)
	if got, ok := delegation.FromContext(delegation.NewContext(t.Context(), v)); !ok || got.ID() != v.ID() {
		t.Error("the token is gone")
	}
}
