package daemon

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/onbehalf/obo/config"
)

// Folder is what a first start needs: a key-encryption key, credentials, and a configuration that names them.
type Folder struct {
	Key    string   // file name of the key-encryption key
	Tokens []string // file names of the credentials: 256 random bits each
	Config string   // file name of the configuration
	Sample string   // the configuration; %[1]s stands for the folder
	Before string   // what else to do before the first start; empty when nothing
}

// files are the names of all that write makes.
func (f Folder) files() []string { return append(append([]string{f.Key}, f.Tokens...), f.Config) }

// write makes the folder and returns its absolute path. The key-encryption key opens all that the server keeps sealed:
// whoever replaces it by accident loses that, so nothing that is there is touched.
func (f Folder) write(ctx context.Context, dir, encryption string) (string, error) {
	key, text := KeyFile{}, ""
	if encryption != "" {
		under, as, err := config.LoadKeyEncryption(encryption)
		if err != nil {
			return "", err
		}
		key.Under, text = &under, as
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for _, name := range f.files() {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s is there already: nothing was written", filepath.Join(dir, name))
		}
	}
	key.Path = filepath.Join(dir, f.Key)
	if err := key.create(ctx); err != nil {
		return "", err
	}
	for _, name := range f.Tokens {
		if err := create(filepath.Join(dir, name), newToken()+"\n"); err != nil {
			return "", err
		}
	}
	return dir, create(filepath.Join(dir, f.Config), fmt.Sprintf(f.Sample, dir)+text)
}

// newToken is 256 random bits.
func newToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
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
