package seal

import (
	"bytes"
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

// CreateKeyFile makes a key-encryption key and writes it, in tink's JSON keyset format, to a new file that only its owner may
// read. It refuses to touch a file that exists: whatever was sealed under the old key would be lost.
func CreateKeyFile(path string) error {
	key, err := NewDataKey()
	if err != nil {
		return err
	}
	err = writeNew(path, key, nil)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w %s exists already; a new key could not open what the old one sealed: %w", ErrKeyFile, path, err)
	}
	return err
}

// ReplaceKeyFile puts a changed key in the place of the one in a file, whole or not at all, at every moment of a power cut. The
// new file belongs to whom the old one did: root may change the key of a server that runs as somebody else. It fails when the
// file does not hold before any more: what somebody else added meanwhile would be lost.
func ReplaceKeyFile(path string, before, key Key) error {
	old, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	next := path + ".new" // whoever makes it is the only one who changes the key
	err = writeNew(next, key, old)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w %s exists: somebody else is changing the key, or a change was interrupted; if nobody is, remove it: %w",
			ErrKeyFile, next, err)
	}
	if err != nil {
		return err
	}
	now, err := OpenKeyFile(path)
	if err == nil && !slices.Equal(now.IDs(), before.IDs()) {
		err = fmt.Errorf("%w %s was changed by somebody else meanwhile: look at it, and try again", ErrKeyFile, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, path); err != nil {
		return errors.Join(fmt.Errorf("%w %s: %w", ErrKeyFile, path, err), os.Remove(next))
	}
	return syncFolder(path)
}

// writeNew makes a file that only its owner may read, and that has the owner and the mode of like.
func writeNew(path string, key Key, like fs.FileInfo) error {
	if key.IsZero() {
		return ErrNoKey
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(key.shared.Load().handle, keyset.NewJSONWriter(&b)); err != nil {
		return fmt.Errorf("seal: write keyset: %w", err)
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
	if err := writeDurably(f, b.Bytes()); err != nil {
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

// OpenKeyFile reads a key-encryption key. It refuses a symbolic link, anything that is not a regular file, and a file on
// which group or others have any permission.
func OpenKeyFile(path string) (Key, error) {
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
	// The reader's own error is dropped: it may quote the file.
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		return Key{}, fmt.Errorf("%w %s: %w", ErrKeyFile, path, ErrKey)
	}
	key, err := newKey(handle)
	if err != nil {
		return Key{}, fmt.Errorf("%w %s: %w", ErrKeyFile, path, err)
	}
	return key, nil
}
