package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/seal"
)

// KeyFile says where a server's key-encryption key is, and what encrypts it there.
type KeyFile struct {
	Path  string
	Under *config.KeyEncryption // nil: nothing
}

// Open reads the key. The service or the device that encrypts it is asked once, and let go of.
func (f KeyFile) Open(ctx context.Context) (key seal.Key, err error) {
	file, done, err := f.reach(ctx)
	if err != nil {
		return seal.Key{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	return file.Open(ctx)
}

// create makes the key.
func (f KeyFile) create(ctx context.Context) error {
	file, done, err := f.reach(ctx)
	if err != nil {
		return err
	}
	return errors.Join(file.Create(ctx), done())
}

// reach gets hold of what encrypts the file, until done.
func (f KeyFile) reach(ctx context.Context) (file seal.KeyFile, done func() error, err error) {
	file = seal.KeyFile{Path: f.Path}
	if f.Under == nil {
		return file, func() error { return nil }, nil
	}
	remote, err := openRemote(ctx, *f.Under)
	if err != nil {
		return seal.KeyFile{}, nil, fmt.Errorf("key_encryption: %w", err)
	}
	file.Under = remote
	return file, remote.Close, nil
}

// remote is a key in a service or a device.
type remote interface {
	seal.Remote
	io.Closer
}

func openRemote(ctx context.Context, c config.KeyEncryption) (remote, error) {
	switch {
	case c.Source == "awskms" && c.AWSKMS != nil:
		return openAWSKMS(ctx, c)
	case c.Source == "pkcs11" && c.PKCS11 != nil:
		return openPKCS11(c)
	}
	return nil, fmt.Errorf("source %q is none, or says not where it is", c.Source)
}
