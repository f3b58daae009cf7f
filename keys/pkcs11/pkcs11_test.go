//go:build pkcs11

package pkcs11_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/keys/keystest"
	"github.com/onbehalf/obo/keys/pkcs11"
	"github.com/onbehalf/obo/seal"
)

const pin = "1234"

// module is SoftHSM's library; `make pkcs11` says where.
func module(t *testing.T) string {
	t.Helper()
	path := os.Getenv("OBO_TEST_PKCS11_MODULE")
	if path == "" {
		t.Fatal("OBO_TEST_PKCS11_MODULE is not set: run make pkcs11")
	}
	return path
}

// token is a fresh software token with a name of its own. SoftHSM reads one configuration in a process, so the tests share a folder.
func token(t *testing.T, label string) *pkcs11.Source {
	t.Helper()
	initialize(t, label)
	s, err := pkcs11.Open(pkcs11.Config{Module: module(t), TokenLabel: label, PIN: pin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func initialize(t *testing.T, label string) {
	t.Helper()
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", pin, "--pin", pin).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "softhsm")
	if err != nil {
		panic(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\n"), 0o600); err != nil {
		panic(err)
	}
	_ = os.Setenv("SOFTHSM2_CONF", conf)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

type world struct {
	cfg   keys.Config
	now   time.Time
	burnt string
}

func newWorld(t *testing.T, s *pkcs11.Source, source string, algorithms ...jose.Algorithm) *world {
	t.Helper()
	kek, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{now: time.Now()}
	w.cfg = keys.Config{Store: &keystest.Store{}, Key: kek, Source: source, Sources: map[string]keys.Source{"pkcs11": s},
		Burnt: func(kid string, _ time.Time) bool { return kid == w.burnt }, Now: func() time.Time { return w.now },
		Policy: keys.Policy{Algorithm: algorithms[0], Algorithms: algorithms[1:], PublishAhead: time.Hour, ActiveFor: 720 * time.Hour,
			MaxTokenLife: time.Hour}}
	return w
}

func (w *world) open(t *testing.T) *keys.Ring {
	t.Helper()
	r, err := keys.Open(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) verifies(t *testing.T, r *keys.Ring, alg jose.Algorithm) string {
	t.Helper()
	return keystest.Signs(t, r, alg, w.now)
}

// TestTokenSigns: keys that the device made sign real tokens, after a restart too, and nothing private is in our store.
func TestTokenSigns(t *testing.T) {
	w := newWorld(t, token(t, "signs"), "pkcs11", jose.ES256, jose.PS256, jose.RS256)
	r := w.open(t)
	for _, alg := range []jose.Algorithm{jose.ES256, jose.PS256, jose.RS256} {
		if kid := w.verifies(t, r, alg); w.verifies(t, w.open(t), alg) != kid {
			t.Errorf("%s: another key after a restart", alg)
		}
	}
	for _, k := range r.Keys() {
		if !strings.HasPrefix(k.Source, "pkcs11:obo-") {
			t.Errorf("%s is in %q", k.KID, k.Source)
		}
	}
	without := w.cfg
	without.Sources, without.Source = nil, ""
	if _, err := keys.Open(t.Context(), without); !errors.Is(err, keys.ErrSource) {
		t.Errorf("without the device: %v", err)
	}
}

// TestMovingIn: a key in the store is succeeded by one in the device: by rotation, and by an import of one that the operator made.
func TestMovingIn(t *testing.T) {
	s := token(t, "moving")
	w := newWorld(t, s, "", jose.ES256)
	first := w.verifies(t, w.open(t), jose.ES256)
	w.cfg.Source = "pkcs11"
	r := w.open(t)
	if err := r.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	second := w.verifies(t, r, jose.ES256)
	if err := r.Reload(t.Context()); err != nil || second == first {
		t.Fatal(second, err)
	}
	label, err := s.Generate(t.Context(), jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	third, err := r.Import(t.Context(), keys.ImportRequest{Algorithm: jose.ES256, Source: "pkcs11", Reference: label})
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	if got := w.verifies(t, r, jose.ES256); got != third {
		t.Errorf("signed with %s, want the imported %s", got, third)
	}
	for name, req := range map[string]keys.ImportRequest{
		"no such label":      {Algorithm: jose.ES256, Source: "pkcs11", Reference: "none"},
		"no such source":     {Algorithm: jose.ES256, Source: "kms", Reference: label},
		"of another type":    {Algorithm: jose.PS256, Source: "pkcs11", Reference: label},
		"both kinds at once": {Algorithm: jose.ES256, Source: "pkcs11", Reference: label, Private: []byte("{}")},
	} {
		if _, err := r.Import(t.Context(), req); err == nil {
			t.Errorf("%s: imported", name)
		}
	}
}

// TestDeviceKeyIsBurnt: threat: key theft. An emergency rotation of a key in the device makes another there, which signs at once.
func TestDeviceKeyIsBurnt(t *testing.T) {
	w := newWorld(t, token(t, "burnt"), "pkcs11", jose.ES256)
	r := w.open(t)
	w.burnt = w.verifies(t, r, jose.ES256)
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.verifies(t, r, jose.ES256); got == w.burnt || strings.Contains(string(r.JWKS()), w.burnt) {
		t.Errorf("signed with %s: %s", got, r.JWKS())
	}
}

func TestOpenRefuses(t *testing.T) {
	initialize(t, "refuses")
	for name, c := range map[string]pkcs11.Config{
		"a wrong PIN":   {Module: module(t), TokenLabel: "refuses", PIN: "wrong-pin"},
		"no such token": {Module: module(t), TokenLabel: "none", PIN: pin},
		"no module":     {Module: "/nonexistent.so", TokenLabel: "refuses", PIN: pin},
	} {
		if s, err := pkcs11.Open(c); err == nil || strings.Contains(err.Error(), "wrong-pin") {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}
