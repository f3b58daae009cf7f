package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// ErrKeyFile says that the key file may not be used as it lies there. The text says what to do.
var ErrKeyFile = errors.New("seal: key file")

// Remote is a key that never leaves a key service or a device. What it encrypts is bound to associated data. (tink calls such a thing an
// AEADWithContext.)
type Remote interface {
	EncryptWithContext(ctx context.Context, plaintext, associated []byte) ([]byte, error)
	DecryptWithContext(ctx context.Context, ciphertext, associated []byte) ([]byte, error)
}

// bound is what a key file is bound to where it is encrypted.
const bound = "obo key-encryption key"

// KeyFile is a file with a key-encryption key, in tink's JSON keyset format, that only its owner may read.
type KeyFile struct {
	Path string
	// Under encrypts what is in the file, which is of no use without it. It is asked once for each time that the file is read or
	// written, and never for what the key seals. Nil: the key lies in the file as it is.
	Under Remote
}

// Create makes a key and writes it to a new file. It refuses to touch a file that exists: whatever was sealed under the old key would be
// lost.
func (k KeyFile) Create(ctx context.Context) error {
	key, err := NewDataKey()
	if err != nil {
		return err
	}
	err = k.writeNew(ctx, k.Path, key, nil)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w %s exists already; a new key could not open what the old one sealed: %w", ErrKeyFile, k.Path, err)
	}
	return err
}

// Replace puts a changed key in the place of the one in a file, whole or not at all, at every moment of a power cut. The new file belongs
// to whom the old one did: root may change the key of a server that runs as somebody else. It fails when the file does not hold before any
// more: what somebody else added meanwhile would be lost.
func (k KeyFile) Replace(ctx context.Context, before, key Key) error {
	return k.replace(ctx, before, key, k)
}

// Move encrypts what is in the file with another key than k.Under, or with none: to is how the file is read from then on.
func (k KeyFile) Move(ctx context.Context, to Remote) error {
	key, err := k.Open(ctx)
	if err != nil {
		return err
	}
	return k.replace(ctx, key, key, KeyFile{k.Path, to})
}

func (k KeyFile) replace(ctx context.Context, before, key Key, as KeyFile) error {
	old, err := os.Lstat(k.Path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	next := k.Path + ".new" // whoever makes it is the only one who changes the key
	err = as.writeNew(ctx, next, key, old)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w %s exists: somebody else is changing the key, or a change was interrupted; if nobody is, remove it: %w",
			ErrKeyFile, next, err)
	}
	if err != nil {
		return err
	}
	now, err := k.Open(ctx)
	if err == nil && !slices.Equal(now.IDs(), before.IDs()) {
		err = fmt.Errorf("%w %s was changed by somebody else meanwhile: look at it, and try again", ErrKeyFile, k.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, k.Path); err != nil {
		return errors.Join(fmt.Errorf("%w %s: %w", ErrKeyFile, k.Path, err), os.Remove(next))
	}
	return syncFolder(k.Path)
}

// writeNew makes a file that only its owner may read, and that has the owner and the mode of like.
func (k KeyFile) writeNew(ctx context.Context, path string, key Key, like fs.FileInfo) error {
	if key.IsZero() {
		return ErrNoKey
	}
	text, err := k.encode(ctx, key)
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrKeyFile, path, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if like != nil {
		if err := belong(f, like); err != nil {
			return errors.Join(fmt.Errorf("%w %s: run this as the owner of the key file or as root: %w", ErrKeyFile, path, err),
				f.Close(), os.Remove(path))
		}
	}
	if err := writeDurably(f, text); err != nil {
		_ = os.Remove(path) // half a key is no key; the next attempt must not stumble over it
		return fmt.Errorf("%w %s: %w", ErrKeyFile, path, err)
	}
	return nil
}

// writeDurably returns only when the key would survive a power cut: a key that is lost after its first use loses all that
// was sealed meanwhile.
func writeDurably(f *os.File, data []byte) error {
	_, err := f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return syncFolder(f.Name())
}

// syncFolder makes the name of a file durable.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Open reads the key. It refuses a symbolic link, anything that is not a regular file, and a file on
// which group or others have any permission.
func (k KeyFile) Open(ctx context.Context) (Key, error) {
	path := k.Path
	named, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Key{}, fmt.Errorf("%w %s does not exist; `init` makes one: %w", ErrKeyFile, path, err)
	case err != nil:
		return Key{}, fmt.Errorf("%w: %w", ErrKeyFile, err)
	case named.Mode()&fs.ModeSymlink != 0:
		return Key{}, fmt.Errorf("%w %s is a symbolic link; name the file itself", ErrKeyFile, path)
	case !named.Mode().IsRegular():
		return Key{}, fmt.Errorf("%w %s is not a regular file", ErrKeyFile, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer f.Close()
	opened, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if !os.SameFile(named, opened) { // swapped between the look and the opening
		return Key{}, fmt.Errorf("%w %s changed while it was opened", ErrKeyFile, path)
	}
	if mode := opened.Mode().Perm(); mode&0o077 != 0 {
		return Key{}, fmt.Errorf("%w %s has mode %04o; others may read or change it: run `chmod 600 %s`, and if others could "+
			"read it, make a new key", ErrKeyFile, path, mode, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyset+1))
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if len(data) > maxKeyset {
		return Key{}, fmt.Errorf("%w %s: %w: larger than %d bytes", ErrKeyFile, path, ErrKey, maxKeyset)
	}
	key, err := k.decode(ctx, data)
	if err != nil {
		return Key{}, fmt.Errorf("%w %s: %w", ErrKeyFile, path, err)
	}
	return key, nil
}

// encode is what a file has in it.
func (k KeyFile) encode(ctx context.Context, key Key) ([]byte, error) {
	handle := key.shared.Load().handle
	var b bytes.Buffer
	var err error
	if k.Under == nil {
		err = insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b))
	} else {
		err = handle.WriteWithContext(ctx, keyset.NewJSONWriter(&b), k.Under, []byte(bound))
	}
	return b.Bytes(), err
}

// decode is the inverse. The errors of a reader are dropped: they may quote the file.
func (k KeyFile) decode(ctx context.Context, data []byte) (Key, error) {
	reader := func() keyset.Reader { return keyset.NewJSONReader(bytes.NewReader(data)) }
	set, err := reader().ReadEncrypted()
	encrypted := err == nil && len(set.GetEncryptedKeyset()) > 0
	var handle *keyset.Handle
	switch {
	case encrypted && k.Under == nil:
		return Key{}, errors.New("is encrypted by a key service or a device: name that in key_encryption of the configuration")
	case encrypted:
		if handle, err = keyset.ReadWithContext(ctx, reader(), k.Under, []byte(bound)); err != nil {
			return Key{}, fmt.Errorf("is not opened by the key that key_encryption names: %w", err)
		}
	default:
		if handle, err = insecurecleartextkeyset.Read(reader()); err != nil {
			return Key{}, ErrKey
		}
	}
	key, err := newKey(handle)
	if err == nil && !encrypted && k.Under != nil { // it would seal on under a key that lies in the clear, and nobody would notice
		return Key{}, errors.New("is not encrypted, and key_encryption says by what: run `key wrap`, or leave key_encryption out")
	}
	return key, err
}
