//go:build pkcs11

package pkcs11_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ThalesGroup/crypto11"

	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/seal/pkcs11"
)

const pin = "1234"

// TestMain gives SoftHSM a folder: it reads one configuration in a process, so the tests share it.
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

// token is a fresh software token; `make pkcs11` says where its library is.
func token(t *testing.T, label string) (pkcs11.Config, *crypto11.Context) {
	t.Helper()
	module := os.Getenv("OBO_TEST_PKCS11_MODULE")
	if module == "" {
		t.Fatal("OBO_TEST_PKCS11_MODULE is not set: run make pkcs11")
	}
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", pin, "--pin", pin).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c, err := crypto11.Configure(&crypto11.Config{Path: module, TokenLabel: label, Pin: pin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return pkcs11.Config{Module: module, TokenLabel: label, PIN: pin}, c
}

func newKey(t *testing.T, c *crypto11.Context, label string, kind *crypto11.SymmetricCipher, bits int, more ...*crypto11.Attribute) {
	t.Helper()
	set := crypto11.NewAttributeSet()
	if err := errors.Join(set.Set(crypto11.CkaLabel, []byte(label)), set.Set(crypto11.CkaId, []byte(label+"-id"))); err != nil {
		t.Fatal(err)
	}
	set.AddIfNotPresent(more)
	if _, err := c.GenerateSecretKeyWithAttributes(set, bits, kind); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, c pkcs11.Config, label string) *pkcs11.Key {
	t.Helper()
	c.Key = label
	k, err := pkcs11.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// TestKeyFileUnderTheDevice: threat: key theft. The file has no key in it; it is made, read, changed, and moved from a plain one and back.
func TestKeyFileUnderTheDevice(t *testing.T) {
	ctx := t.Context()
	c, hsm := token(t, "files")
	newKey(t, hsm, "obo-kek", crypto11.CipherAES, 256)
	plain := seal.KeyFile{Path: filepath.Join(t.TempDir(), "kek")}
	if err := plain.Create(ctx); err != nil {
		t.Fatal(err)
	}
	key, err := plain.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := key.Seal([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	device := open(t, c, "obo-kek")
	if err := plain.Move(ctx, device); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(plain.Path)
	if err != nil || !bytes.Contains(text, []byte(`"encryptedKeyset"`)) || bytes.Contains(text, []byte(`"keyData"`)) {
		t.Errorf("the file has %s, %v", text, err)
	}
	if _, err := plain.Open(ctx); !errors.Is(err, seal.ErrKeyFile) || !strings.Contains(err.Error(), "key_encryption") {
		t.Errorf("without the device: %v", err)
	}
	if err := device.Close(); err != nil { // a server lets go of it after it has read the file, and logs in anew at a reload
		t.Fatal(err)
	}
	file := seal.KeyFile{Path: plain.Path, Under: open(t, c, "obo-kek")}
	got, err := file.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := got.Open(sealed, nil); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
	next, _, err := got.WithNew()
	if err == nil {
		err = file.Replace(ctx, got, next)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Move(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if back, err := plain.Open(ctx); err != nil || !slices.Equal(back.IDs(), next.IDs()) {
		t.Errorf("moved back: %v, %v", back.IDs(), err)
	}
}

// TestNothingElseOpens: another key, another purpose or a changed byte.
func TestNothingElseOpens(t *testing.T) {
	ctx := t.Context()
	c, hsm := token(t, "others")
	newKey(t, hsm, "one", crypto11.CipherAES, 256)
	newKey(t, hsm, "two", crypto11.CipherAES, 256)
	one, two := open(t, c, "one"), open(t, c, "two")
	sealed, err := one.EncryptWithContext(ctx, []byte("keyset"), []byte("for this"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := one.DecryptWithContext(ctx, sealed, []byte("for this")); err != nil || string(got) != "keyset" {
		t.Fatalf("%q, %v", got, err)
	}
	again, err := one.EncryptWithContext(ctx, []byte("keyset"), []byte("for this"))
	if err != nil || bytes.Equal(again, sealed) {
		t.Errorf("the same twice: %v", err)
	}
	if _, err := two.DecryptWithContext(ctx, sealed, []byte("for this")); err == nil {
		t.Error("another key opens it")
	}
	if _, err := one.DecryptWithContext(ctx, sealed, []byte("for that")); err == nil {
		t.Error("it opens for another purpose")
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := one.DecryptWithContext(ctx, changed, []byte("for this")); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
	}
	if _, err := one.DecryptWithContext(ctx, sealed[:5], []byte("for this")); err == nil {
		t.Error("it opens cut short")
	}
}

// TestOpenRefuses: what is no such key, or one that could leave the token.
func TestOpenRefuses(t *testing.T) {
	c, hsm := token(t, "refuses")
	newKey(t, hsm, "des", crypto11.CipherDES3, 0)
	extractable, err := crypto11.NewAttribute(crypto11.CkaExtractable, true)
	if err != nil {
		t.Fatal(err)
	}
	newKey(t, hsm, "leaves", crypto11.CipherAES, 256, extractable)
	newKey(t, hsm, "twice", crypto11.CipherAES, 256)
	newKey(t, hsm, "twice", crypto11.CipherAES, 256)
	for label, says := range map[string]string{"": "label", "none": "0 secret keys", "des": "no AES key", "leaves": "not extractable", "twice": "2 secret keys"} {
		c.Key = label
		if k, err := pkcs11.Open(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v", label, k, err)
		}
	}
	c.PIN = "wrong-pin"
	if _, err := pkcs11.Open(c); err != nil && strings.Contains(err.Error(), "wrong-pin") {
		t.Errorf("the error has the PIN: %v", err)
	}
}
