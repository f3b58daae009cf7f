package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/onbehalf/obo/seal"
)

// The files of a folder that init made.
const (
	keyFile    = "kek.json"
	adminFile  = "admin.token"
	configFile = "obo-executor.yaml"
)

const sample = `# obo-executor. Every key is documented in config/executor.go; check a change with obo-executor -check-config -c FILE.
audience: http://127.0.0.1:8081     # what tokens for this executor have as aud; a registered resource of each org
issuer: http://127.0.0.1:8080       # of obo-sts
feed:
  address: 127.0.0.1:8443           # gRPC listener of obo-sts
  token_file: %[1]s/feed.token      # the credential that obo-sts init wrote: copy it here, mode 0600
listen:
  grpc: 127.0.0.1:8444
  http: 127.0.0.1:8081
  # tls: {cert_file: /path/cert.pem, key_file: /path/key.pem}   # required on any address but loopback
store:
  url: sqlite:%[1]s/executor.db   # or postgres://obo:${file:/path/password}@host/obo_executor?sslmode=verify-full
key_file: %[1]s/` + keyFile + `
admin:
  token_file: %[1]s/` + adminFile + `
`

// Run makes what a first start needs. The key-encryption key opens every credential: whoever replaces it by accident loses
// them all, so nothing that is there is touched.
func (c initCommand) Run() error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{keyFile, adminFile, configFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already: nothing was written", filepath.Join(dir, name))
		}
	}
	if err := seal.CreateKeyFile(filepath.Join(dir, keyFile)); err != nil {
		return err
	}
	if err := create(filepath.Join(dir, adminFile), newToken()+"\n"); err != nil {
		return err
	}
	if err := create(filepath.Join(dir, configFile), fmt.Sprintf(sample, dir)); err != nil {
		return err
	}
	_, err = fmt.Printf("wrote %s, %s and %s to %s\nnext: copy the feed.token of obo-sts there, then obo-executor serve -c %s\n",
		keyFile, adminFile, configFile, dir, filepath.Join(dir, configFile))
	return err
}

// newToken is 256 random bits.
func newToken() string {
	var b [32]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// create writes a new file that only its owner may read.
func create(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}
