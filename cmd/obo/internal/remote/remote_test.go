package remote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"ok": " s3cret\n", "empty": "\n", "long": strings.Repeat("x", maxSecret+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := ReadSecret(filepath.Join(dir, "ok"), nil); err != nil || s.Reveal() != "s3cret" {
		t.Errorf("%v", err)
	}
	if s, err := ReadSecret("-", strings.NewReader("piped\n")); err != nil || s.Reveal() != "piped" {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"empty", "long", "missing"} {
		if _, err := ReadSecret(filepath.Join(dir, name), nil); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// TX20: a token never crosses a network in the clear.
func TestOnlyLoopbackIsSpokenToInTheClear(t *testing.T) {
	t.Parallel()
	for address, security := range map[string]string{
		"127.0.0.1:1": "insecure", "localhost:1": "insecure", "[::1]:1": "insecure",
		"10.0.0.1:1": "tls", "sts.example:443": "tls", "127.0.0.1.example:1": "tls",
	} {
		creds, err := transport(address, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := creds.Info().SecurityProtocol; got != security {
			t.Errorf("%s: %s, want %s", address, got, security)
		}
	}
	if _, err := transport("no-port", ""); err == nil {
		t.Error("an address without a port was taken")
	}
	if _, err := transport("127.0.0.1:1", "/nonexistent"); err == nil {
		t.Error("certificates that are not there were taken")
	}
}
