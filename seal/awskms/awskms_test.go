//go:build awskms

package awskms_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/seal/awskms"
	"github.com/onbehalf/obo/seal/awskms/awskmstest"
)

// TestMain gives the SDK credentials, so that it looks for none elsewhere.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		_ = os.Setenv(name, value)
	}
	os.Exit(m.Run())
}

func open(t *testing.T, s *awskmstest.Service, arn string) *awskms.Key {
	t.Helper()
	k, err := awskms.Open(t.Context(), awskms.Config{Region: "eu-central-1", Endpoint: s.URL, Key: arn})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestKeyFileUnderTheService: threat: key theft. The file has no key in it; it is made, read, changed and moved with one call each time,
// and nothing that is sealed or opened costs one.
func TestKeyFileUnderTheService(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := awskmstest.Start(t)
	file := seal.KeyFile{Path: filepath.Join(t.TempDir(), "kek"), Under: open(t, s, s.Add(t, "1"))}
	if err := file.Create(ctx); err != nil || s.Calls() != 1 {
		t.Fatal(s.Calls(), err)
	}
	key, err := file.Open(ctx)
	if err != nil || s.Calls() != 2 {
		t.Fatal(s.Calls(), err)
	}
	sealed, err := key.Seal([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := key.Open(sealed, nil); err != nil {
			t.Fatal(err)
		}
	}
	if s.Calls() != 2 {
		t.Errorf("%d calls: one for what was sealed", s.Calls())
	}
	text, err := os.ReadFile(file.Path)
	if err != nil || !bytes.Contains(text, []byte(`"encryptedKeyset"`)) || bytes.Contains(text, []byte(`"keyData"`)) {
		t.Errorf("the file has %s, %v", text, err)
	}
	next, _, err := key.WithNew()
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Replace(ctx, key, next); err != nil {
		t.Fatal(err)
	}
	other := seal.KeyFile{Path: file.Path, Under: open(t, s, s.Add(t, "2"))}
	if err := file.Move(ctx, other.Under); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Open(ctx); err != nil || !slices.Equal(got.IDs(), next.IDs()) {
		t.Errorf("under another key: %v, %v", got.IDs(), err)
	}
	if _, err := file.Open(ctx); !errors.Is(err, seal.ErrKeyFile) || !strings.Contains(err.Error(), "key_encryption") {
		t.Errorf("under the key of before: %v", err)
	}
}

// TestFaults: what the service refuses is an error, never a key, and never a file.
func TestFaults(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, c := range map[string]struct {
		refuse []string
		good   bool
	}{
		"throttled twice": {[]string{"ThrottlingException", "ThrottlingException"}, true},
		"throttled":       {slices.Repeat([]string{"ThrottlingException"}, 9), false},
		"denied":          {[]string{"AccessDeniedException"}, false},
		"disabled":        {[]string{"DisabledException"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := awskmstest.Start(t)
			file := seal.KeyFile{Path: filepath.Join(t.TempDir(), "kek"), Under: open(t, s, s.Add(t, "1"))}
			s.Refuse(c.refuse...)
			err := file.Create(ctx)
			_, missing := os.Stat(file.Path)
			if (err == nil) != c.good || (missing == nil) != c.good {
				t.Errorf("made: %v, %v", err, missing)
			}
			s.Refuse()
			if !c.good {
				if err := file.Create(ctx); err != nil {
					t.Fatal(err)
				}
			}
			s.Refuse(c.refuse...)
			if _, err := file.Open(ctx); (err == nil) != c.good {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// TestTamperedFile: no changed byte of the file opens as another key.
func TestTamperedFile(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := awskmstest.Start(t)
	k := open(t, s, s.Add(t, "1"))
	sealed, err := k.EncryptWithContext(ctx, []byte("keyset"), []byte("for this"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.DecryptWithContext(ctx, sealed, []byte("for this")); err != nil || string(got) != "keyset" {
		t.Fatal(string(got), err)
	}
	if _, err := k.DecryptWithContext(ctx, sealed, []byte("for that")); err == nil {
		t.Error("opened for another purpose")
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := k.DecryptWithContext(ctx, sealed, []byte("for this")); err == nil {
		t.Error("opened with a byte changed")
	}
}
