package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/seal"
)

func newKey(t rapid.TB) seal.Key {
	t.Helper()
	k, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What was sealed opens with the same associated data and with no other; any flipped bit is noticed (threat: a curious
// operator moves or edits rows).
func TestSealedIsBoundToItsAssociatedData(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plain")
		ad := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "associated")
		sealed, err := key.Seal(plain, ad)
		if err != nil {
			t.Fatal(err)
		}
		got, err := key.Open(sealed, ad)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("Open = %q, %v; want %q", got, err, plain)
		}
		wrong := append(bytes.Clone(ad), 'x')
		if _, err := key.Open(sealed, wrong); !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("opened with other associated data: %v", err)
		}
		if _, err := other.Open(sealed, ad); !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("opened with another key: %v", err)
		}
		bit := rapid.IntRange(0, len(sealed)*8-1).Draw(t, "bit")
		sealed[bit/8] ^= 1 << (bit % 8)
		if _, err := key.Open(sealed, ad); !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("opened with bit %d flipped: %v", bit, err)
		}
	})
}

func TestDataKeysAreWrapped(t *testing.T) {
	t.Parallel()
	kek, data, ad := newKey(t), newKey(t), []byte("org|acme")
	wrapped, err := kek.Wrap(data, ad)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := data.Seal([]byte("credential"), ad)
	if err != nil {
		t.Fatal(err)
	}
	back, err := kek.Unwrap(wrapped, ad)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := back.Open(sealed, ad); err != nil || string(got) != "credential" {
		t.Fatalf("the unwrapped key opens %q, %v", got, err)
	}
	if _, err := kek.Unwrap(wrapped, []byte("org|globex")); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another org's associated data unwrapped the key: %v", err)
	}
	if _, err := data.Unwrap(wrapped, ad); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another key unwrapped the key: %v", err)
	}
	for i := range wrapped {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 1
		if k, err := kek.Unwrap(bad, ad); err == nil {
			// Only the unauthenticated note about the keyset (its ids) may change without effect; the key may not.
			if got, err := k.Open(sealed, ad); err != nil || string(got) != "credential" {
				t.Errorf("byte %d changed and another key came out", i)
			}
		}
	}
}

// Data and wrapped keys never open as each other, whatever associated data the callers chose.
func TestDataAndKeysDoNotMix(t *testing.T) {
	t.Parallel()
	kek, ad := newKey(t), []byte("same")
	wrapped, err := kek.Wrap(newKey(t), ad)
	if err != nil {
		t.Fatal(err)
	}
	for from := range wrapped { // wherever the ciphertext lies in the message
		if _, err := kek.Open(wrapped[from:], ad); err == nil {
			t.Fatal("a wrapped key opened as data")
		}
		for to := len(wrapped); to > from; to-- {
			if _, err := kek.Open(wrapped[from:to], ad); err == nil {
				t.Fatal("a wrapped key opened as data")
			}
		}
	}
}

func TestZeroKeyRefuses(t *testing.T) {
	t.Parallel()
	var zero seal.Key
	if !zero.IsZero() || newKey(t).IsZero() {
		t.Error("IsZero is wrong")
	}
	_, sealErr := zero.Seal(nil, nil)
	_, openErr := zero.Open(nil, nil)
	_, wrapErr := newKey(t).Wrap(zero, nil)
	_, unwrapErr := zero.Unwrap(nil, nil)
	for i, err := range []error{sealErr, openErr, wrapErr, unwrapErr} {
		if !errors.Is(err, seal.ErrNoKey) {
			t.Errorf("%d: %v, want ErrNoKey", i, err)
		}
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek")
	if err := (seal.KeyFile{Path: path}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	a, err := seal.KeyFile{Path: path}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := seal.KeyFile{Path: path}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := a.Seal([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(sealed, nil); err != nil {
		t.Errorf("the same file gives another key: %v", err)
	}
	before, _ := os.ReadFile(path)
	if err := (seal.KeyFile{Path: path}).Create(t.Context()); !errors.Is(err, seal.ErrKeyFile) || !errors.Is(err, os.ErrExist) {
		t.Errorf("Create over a key: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("Create changed a file that existed")
	}
}

// Threat: key theft by whoever shares the machine.
func TestKeyFileIsRefused(t *testing.T) {
	t.Parallel()
	create := func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "kek")
		if err := (seal.KeyFile{Path: path}).Create(t.Context()); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write := func(content string) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "kek")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	mode := func(m os.FileMode) func(*testing.T) string {
		return func(t *testing.T) string {
			path := create(t)
			if err := os.Chmod(path, m); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	aes128 := `{"primaryKeyId":1,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.AesGcmKey",` +
		`"value":"GhBtRhWb8qv4cTVvp1ZbTR+A","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":1,"outputPrefixType":"TINK"}]}`
	for _, test := range []struct {
		name string
		path func(*testing.T) string
		says string
	}{
		{"group may read", mode(0o640), "chmod 600"},
		{"others may write", mode(0o602), "chmod 600"},
		{"missing", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, "init"},
		{"symbolic link", func(t *testing.T) string {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(create(t), link); err != nil {
				t.Fatal(err)
			}
			return link
		}, "symbolic link"},
		{"directory", func(t *testing.T) string { return t.TempDir() }, "regular file"},
		{"empty", write(""), "AES-256-GCM"},
		{"not a keyset", write("canary-secret"), "AES-256-GCM"},
		{"shorter key", write(aes128), "AES-256-GCM"},
		{"endless", write(strings.Repeat(" ", 1<<20)), "larger"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := seal.KeyFile{Path: test.path(t)}.Open(t.Context())
			if !errors.Is(err, seal.ErrKeyFile) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Open = %v; want ErrKeyFile that says %q", err, test.says)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Error("the error quotes the file")
			}
		})
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	holder := struct {
		Key seal.Key
		Ptr *seal.Key
	}{key, &key}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", key, "holder", holder)
	js, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		if got := fmt.Sprintf(verb, key); got != "[sealing key]" {
			t.Errorf("%s prints %q", verb, got)
		}
		if got := fmt.Sprintf(verb, holder); strings.Contains(got, "aead") || strings.Contains(got, "keyset") {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	if got := log.String() + string(js); strings.Contains(got, "typeUrl") || !strings.Contains(got, "[sealing key]") {
		t.Errorf("logged %s", got)
	}
}

func BenchmarkSeal(b *testing.B) {
	key, plain, ad := newKey(b), make([]byte, 500), []byte("credential|acme|github|1")
	for b.Loop() {
		if _, err := key.Seal(plain, ad); err != nil {
			b.Fatal(err)
		}
	}
}
