//go:build !awskms && !pkcs11

package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onbehalf/obo/config"
)

// TestKeyEncryptionNeedsABinary: one that was built without what reaches the key says how to build one with it, and makes nothing.
func TestKeyEncryptionNeedsABinary(t *testing.T) {
	t.Parallel()
	for source, says := range map[string]string{"awskms": "go build -tags awskms", "pkcs11": "CGO_ENABLED=1 go build -tags pkcs11", "x": "none"} {
		under := &config.KeyEncryption{Source: source, Key: "k", AWSKMS: &config.AWSKMS{}, PKCS11: &config.PKCS11{}}
		f := KeyFile{filepath.Join(t.TempDir(), "kek"), under}
		if _, err := f.Open(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", source, err)
		}
		if err := f.create(t.Context()); err == nil || !strings.Contains(err.Error(), "key_encryption: ") {
			t.Errorf("%s: %v", source, err)
		}
		if _, err := os.Stat(f.Path); err == nil {
			t.Errorf("%s: made a file", source)
		}
	}
}
