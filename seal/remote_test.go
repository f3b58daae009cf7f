package seal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/seal"
)

// remote is a key elsewhere.
type remote struct {
	key   seal.Key
	away  error
	calls int
}

func (r *remote) EncryptWithContext(_ context.Context, plaintext, associated []byte) ([]byte, error) {
	r.calls++
	if r.away != nil {
		return nil, r.away
	}
	return r.key.Seal(plaintext, associated)
}

func (r *remote) DecryptWithContext(_ context.Context, ciphertext, associated []byte) ([]byte, error) {
	r.calls++
	if r.away != nil {
		return nil, r.away
	}
	return r.key.Open(ciphertext, associated)
}

// TestKeyFileUnderARemoteKey: threat: key theft. What is in the file is of no use alone, and never taken for what it is not; one call
// reads or writes it, and none is for what the key seals.
func TestKeyFileUnderARemoteKey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := &remote{key: newKey(t)}
	file := seal.KeyFile{Path: filepath.Join(t.TempDir(), "kek"), Under: r}
	plain, other := seal.KeyFile{Path: file.Path}, seal.KeyFile{Path: file.Path, Under: &remote{key: newKey(t)}}
	r.away = errors.New("the service is away")
	if err := file.Create(ctx); !errors.Is(err, seal.ErrKeyFile) || !strings.Contains(err.Error(), "away") {
		t.Errorf("made without the key: %v", err)
	}
	if _, err := os.Stat(file.Path); err == nil {
		t.Fatal("it left a file")
	}
	r.away, r.calls = nil, 0
	if err := file.Create(ctx); err != nil {
		t.Fatal(err)
	}
	key, err := file.Open(ctx)
	if err != nil || r.calls != 2 {
		t.Fatalf("%d calls, %v", r.calls, err)
	}
	if _, err := key.Seal([]byte("x"), nil); err != nil || r.calls != 2 {
		t.Errorf("%d calls, %v", r.calls, err)
	}
	text, err := os.ReadFile(file.Path)
	if err != nil || bytes.Contains(text, []byte("keyData")) {
		t.Errorf("the file has %s, %v", text, err)
	}
	refused := func(f seal.KeyFile, says string) {
		t.Helper()
		if _, err := f.Open(ctx); !errors.Is(err, seal.ErrKeyFile) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	refused(plain, "name that in key_encryption")
	refused(other, "not opened by the key that key_encryption names")

	next, _, err := key.WithNew()
	if err != nil {
		t.Fatal(err)
	}
	r.away = errors.New("the service is away")
	if err := file.Replace(ctx, key, next); err == nil {
		t.Error("changed without the key")
	}
	r.away = nil
	if got, err := file.Open(ctx); err != nil || !slices.Equal(got.IDs(), key.IDs()) {
		t.Errorf("after a change that failed: %v, %v", got.IDs(), err)
	}
	if err := file.Replace(ctx, key, next); err != nil {
		t.Fatal(err)
	}
	if err := file.Move(ctx, nil); err != nil {
		t.Fatal(err)
	}
	refused(file, "key wrap")
	if err := plain.Move(ctx, other.Under); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Open(ctx); err != nil || !slices.Equal(got.IDs(), next.IDs()) {
		t.Errorf("moved: %v, %v", got.IDs(), err)
	}
	info, err := os.Stat(file.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(file.Path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
