//go:build awskms

package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/seal"
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

// TestKeyFileUnderTheService: init makes a key file that is encrypted, every key command goes on working with it, and wrap and unwrap
// move a key between there and a plain file. Each is on the trail.
func TestKeyFileUnderTheService(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := awskmstest.Start(t)
	fragment := filepath.Join(t.TempDir(), "encryption.yaml")
	text := fmt.Sprintf("key_encryption:\n  source: awskms\n  key: %s\n  awskms: {region: eu-central-1, endpoint: %q}\n", s.Add(t, "1"), s.URL)
	if err := os.WriteFile(fragment, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := Folder{Key: "kek.json", Config: "c.yaml", Sample: "key_file: %[1]s/kek.json\n"}
	dir, err := folder.write(ctx, filepath.Join(t.TempDir(), "new"), fragment)
	if err != nil || s.Calls() != 1 {
		t.Fatal(s.Calls(), err)
	}
	var cfg config.STS
	written, err := os.ReadFile(filepath.Join(dir, "c.yaml"))
	if err == nil {
		err = yaml.Unmarshal(written, &cfg)
	}
	if err != nil || cfg.KeyEncryption == nil || cfg.KeyEncryption.Source != "awskms" {
		t.Fatalf("%s: %v", written, err)
	}
	at := KeyFile{cfg.KeyFile, cfg.KeyEncryption}
	first, err := at.Open(ctx)
	if err != nil || s.Calls() != 2 {
		t.Fatal(s.Calls(), err)
	}
	d := &drawer{}
	value, err := first.Seal([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d.values = [][]byte{value}
	p := Program[config.STS]{
		Load: func(string) (config.STS, error) { return cfg, nil }, KeyFile: func(config.STS) KeyFile { return at },
		Sealed: func(context.Context, config.STS) (Sealed, error) { return d, nil },
	}
	run := func(command, id string) error {
		return p.key(ctx, command, keyCommands{Promote: keyID{id}, Drop: keyID{id}}, new(bytes.Buffer))
	}
	encrypted := func() bool {
		t.Helper()
		text, err := os.ReadFile(at.Path)
		if err != nil || bytes.Contains(text, []byte("keyData")) == bytes.Contains(text, []byte("encryptedKeyset")) {
			t.Fatalf("%s: %v", text, err)
		}
		return bytes.Contains(text, []byte("encryptedKeyset"))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(run("add", ""))
	now, err := at.Open(ctx)
	must(err)
	must(run("promote", now.IDs()[1].String()))
	must(run("reseal", ""))
	must(run("drop", first.IDs()[0].String()))
	if !encrypted() {
		t.Error("a rotation left the key in the clear")
	}
	if err := run("wrap", ""); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("wrapped twice: %v", err)
	}

	must(run("unwrap", ""))
	if encrypted() {
		t.Error("unwrapped, and encrypted still")
	}
	if _, err := at.Open(ctx); err == nil || !strings.Contains(err.Error(), "key wrap") { // a server does not start with it
		t.Errorf("a plain file: %v", err)
	}
	if err := run("list", ""); err == nil {
		t.Error("a command took a plain file")
	}
	s.Refuse("AccessDeniedException")
	if err := run("wrap", ""); err == nil || encrypted() {
		t.Errorf("wrapped without the service: %v", err)
	}
	must(run("wrap", ""))
	after, err := at.Open(ctx)
	if err != nil || !encrypted() || len(after.IDs()) != 1 || after.IDs()[0] != now.IDs()[1] {
		t.Errorf("%v, %v", after.IDs(), err)
	}
	if text, err := after.Open(d.values[0], nil); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
	if trail := strings.Join(d.records, "\n"); !strings.Contains(trail, "leave the key file unencrypted") ||
		!strings.Contains(trail, "encrypt the key file as key_encryption says") || strings.Contains(trail, "keyData") {
		t.Errorf("on record: %s", trail)
	}

	cfg.KeyEncryption, at.Under = nil, nil // left out by accident
	if _, err := at.Open(ctx); err == nil || !strings.Contains(err.Error(), "key_encryption") {
		t.Errorf("an encrypted file: %v", err)
	}
	if err := run("wrap", ""); err == nil {
		t.Error("wrapped as nothing says")
	}
	if _, err := (seal.KeyFile{Path: at.Path}).Open(ctx); err == nil {
		t.Error("the file alone is worth something")
	}
}
