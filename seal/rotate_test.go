package seal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/seal"
)

// TestRotation: whatever the order in which keys are added, promoted and dropped, what was sealed opens exactly as long as the
// key that sealed it is there, and says under which key it is.
func TestRotation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := newKey(t)
		type value struct {
			sealed, wrapped []byte
			under           seal.ID
		}
		var values []value
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			ids := key.IDs()
			id := rapid.SampledFrom(ids).Draw(t, "id")
			var err error
			switch rapid.SampledFrom([]string{"seal", "add", "promote", "drop"}).Draw(t, "step") {
			case "seal":
				v := value{under: ids[0]}
				if v.sealed, err = key.Seal([]byte("x"), nil); err == nil {
					v.wrapped, err = key.Wrap(newKey(t), nil)
				}
				values = append(values, v)
			case "add":
				if key, id, err = key.WithNew(); err == nil && (key.IDs()[0] != ids[0] || !slices.Contains(key.IDs(), id)) {
					t.Fatalf("%v, and %s was added: %v", ids, id, key.IDs())
				}
			case "promote":
				if key, err = key.SealingBy(id); err == nil && key.IDs()[0] != id {
					t.Fatalf("%s does not seal: %v", id, key.IDs())
				}
			case "drop":
				next, wrong := key.Without(id)
				if (id == ids[0]) != errors.Is(wrong, seal.ErrID) {
					t.Fatalf("drop %s of %v: %v", id, ids, wrong)
				}
				if wrong == nil {
					key = next
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range values {
			under, err := seal.Under(v.sealed)
			wrapped, wrong := seal.UnderWrapped(v.wrapped)
			if err != nil || wrong != nil || under != v.under || wrapped != v.under || !bytes.HasPrefix(v.sealed, under.Prefix()) {
				t.Fatalf("sealed under %s: %s, %s, %v, %v", v.under, under, wrapped, err, wrong)
			}
			_, err = key.Open(v.sealed, nil)
			_, wrong = key.Unwrap(v.wrapped, nil)
			if is := slices.Contains(key.IDs(), v.under); is != (err == nil) || is != (wrong == nil) {
				t.Fatalf("%s of %v: %v, %v", v.under, key.IDs(), err, wrong)
			}
		}
	})
}

// TestAdopt: all who hold a key act by what it has become, while they use it.
func TestAdopt(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	held := key // as a ring or a vault holds it
	before, err := held.Seal([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	next, id, err := key.WithNew()
	if err != nil {
		t.Fatal(err)
	}
	if next, err = next.SealingBy(id); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				if sealed, err := held.Seal([]byte("x"), nil); err != nil {
					t.Error(err)
				} else if _, err := held.Open(sealed, nil); err != nil {
					t.Error(err)
				}
				if _, err := held.Open(before, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := key.Adopt(next); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	after, err := held.Seal([]byte("x"), nil)
	if under, _ := seal.Under(after); err != nil || under != id {
		t.Errorf("sealed under %s, want %s: %v", under, id, err)
	}
	if err := key.Adopt(seal.Key{}); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("adopted nothing: %v", err)
	}
	if err := (seal.Key{}).Adopt(key); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("nothing adopted: %v", err)
	}
}

// TestReplaceKeyFile: the file is the one key or the other, and never open to others.
func TestReplaceKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek.json")
	if err := (seal.KeyFile{Path: path}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, err := seal.KeyFile{Path: path}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, id, err := key.WithNew()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (seal.KeyFile{Path: path}).Replace(t.Context(), key, next); !errors.Is(err, seal.ErrKeyFile) {
		t.Errorf("over somebody else's change: %v", err)
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := (seal.KeyFile{Path: path}).Replace(t.Context(), key, next); err != nil {
		t.Fatal(err)
	}
	if err := (seal.KeyFile{Path: path}).Replace(t.Context(), key, next); !errors.Is(err, seal.ErrKeyFile) || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("a change of a key that is there no more: %v", err)
	}
	got, err := seal.KeyFile{Path: path}.Open(t.Context()) // refuses a file that others may read
	if err != nil || !slices.Contains(got.IDs(), id) || got.IDs()[0] != key.IDs()[0] {
		t.Errorf("%v, %v", got.IDs(), err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestReplaceKeyFileOfAnother: root may change the key of a server that runs as somebody else, who can read it afterwards.
func TestReplaceKeyFileOfAnother(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, who alone gives files away")
	}
	path := filepath.Join(t.TempDir(), "kek.json")
	if err := (seal.KeyFile{Path: path}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chown(path, 4711, 4712), os.Chmod(path, 0o400)); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.KeyFile{Path: path}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := key.WithNew()
	if err != nil {
		t.Fatal(err)
	}
	if err := (seal.KeyFile{Path: path}).Replace(t.Context(), key, next); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	was, is := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t)
	if os.SameFile(before, after) || is.Uid != was.Uid || is.Gid != was.Gid || after.Mode() != before.Mode() {
		t.Errorf("owner %d:%d, mode %v; was %d:%d, %v", is.Uid, is.Gid, after.Mode(), was.Uid, was.Gid, before.Mode())
	}
}

// TestParseID: an id is eight digits, and nothing near it.
func TestParseID(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "1", "123456789", "0x123456", "-1234567", "1234567g"} {
		if _, err := seal.ParseID(bad); !errors.Is(err, seal.ErrID) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if id, err := seal.ParseID("00ab12cd"); err != nil || id.String() != "00ab12cd" {
		t.Errorf("%s, %v", id, err)
	}
	for _, bad := range [][]byte{nil, {1, 2, 3, 4}, {0, 1, 2, 3, 4, 5}, []byte("no keyset at all")} {
		if _, err := seal.Under(bad); err == nil && len(bad) < 10 {
			t.Errorf("%v is sealed", bad)
		}
		if _, err := seal.UnderWrapped(bad); err == nil {
			t.Errorf("%v is wrapped", bad)
		}
	}
}
