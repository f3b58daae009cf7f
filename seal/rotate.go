package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// ErrID says that there is no such key, or that it is the one that seals.
var ErrID = errors.New("seal: key id")

// ID tells the keys of a keyset apart. It is no secret: it stands at the beginning of all that the key has sealed.
type ID uint32

// String is eight hexadecimal digits.
func (id ID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// Prefix begins all that the key has sealed.
func (id ID) Prefix() []byte { return binary.BigEndian.AppendUint32([]byte{tinkPrefix}, uint32(id)) }

// ParseID is the inverse of String. It fails with ErrID.
func ParseID(text string) (ID, error) {
	n, err := strconv.ParseUint(text, 16, 32)
	if err != nil || len(text) != 8 {
		return 0, fmt.Errorf("%w: %q is not eight hexadecimal digits; key list shows the ids", ErrID, text)
	}
	return ID(n), nil
}

// IDs are those of all keys that open, the one that seals first.
func (k Key) IDs() []ID {
	if k.IsZero() {
		return nil
	}
	handle := k.shared.Load().handle
	var out []ID
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		switch {
		case err != nil || entry.KeyStatus() != keyset.Enabled:
		case entry.IsPrimary():
			out = slices.Insert(out, 0, ID(entry.KeyID()))
		default:
			out = append(out, ID(entry.KeyID()))
		}
	}
	return out
}

// WithNew is k with a fresh key beside the others, which opens and does not seal yet.
func (k Key) WithNew() (Key, ID, error) {
	var id uint32
	next, err := k.managed(func(m *keyset.Manager) (err error) {
		id, err = m.Add(aead.AES256GCMKeyTemplate())
		return err
	})
	return next, ID(id), err
}

// SealingBy is k with another of its keys as the one that seals.
func (k Key) SealingBy(id ID) (Key, error) {
	if !slices.Contains(k.IDs(), id) {
		return Key{}, fmt.Errorf("%w %s: there is no such key; key list shows those that there are", ErrID, id)
	}
	return k.managed(func(m *keyset.Manager) error { return m.SetPrimary(uint32(id)) })
}

// Without is k without one of its keys, which must not be the one that seals. What that key sealed opens no more.
func (k Key) Without(id ID) (Key, error) {
	switch ids := k.IDs(); {
	case !slices.Contains(ids, id):
		return Key{}, fmt.Errorf("%w %s: there is no such key; key list shows those that there are", ErrID, id)
	case ids[0] == id:
		return Key{}, fmt.Errorf("%w %s: it is the one that seals; promote another first", ErrID, id)
	}
	return k.managed(func(m *keyset.Manager) error { return m.Delete(uint32(id)) })
}

func (k Key) managed(change func(*keyset.Manager) error) (Key, error) {
	if k.IsZero() {
		return Key{}, ErrNoKey
	}
	m := keyset.NewManagerFromHandle(k.shared.Load().handle)
	if err := change(m); err != nil {
		return Key{}, fmt.Errorf("seal: change a keyset: %w", err)
	}
	handle, err := m.Handle()
	if err != nil {
		return Key{}, fmt.Errorf("seal: change a keyset: %w", err)
	}
	return newKey(handle)
}

// tinkPrefix begins what a key has sealed; the key's id follows, in four bytes.
const tinkPrefix = 1

// Under is the id of the key that sealed something.
func Under(sealed []byte) (ID, error) {
	if len(sealed) < 5 || sealed[0] != tinkPrefix {
		return 0, ErrOpen
	}
	return ID(binary.BigEndian.Uint32(sealed[1:5])), nil
}

// UnderWrapped is the id of the key that wrapped a data key.
func UnderWrapped(wrapped []byte) (ID, error) {
	if len(wrapped) > maxKeyset {
		return 0, ErrOpen
	}
	set, err := keyset.NewBinaryReader(bytes.NewReader(wrapped)).ReadEncrypted()
	if err != nil {
		return 0, ErrOpen
	}
	return Under(set.GetEncryptedKeyset())
}

// Reseal is what was sealed, sealed again by the key that seals now; again is false when it is that already.
func (k Key) Reseal(sealed, associated []byte) (out []byte, again bool, err error) {
	if current, err := k.seals(Under(sealed)); current || err != nil {
		return sealed, false, err
	}
	plain, err := k.Open(sealed, associated)
	if err != nil {
		return nil, false, err
	}
	defer clear(plain)
	out, err = k.Seal(plain, associated)
	return out, true, err
}

// Rewrap is Reseal for a wrapped data key.
func (k Key) Rewrap(wrapped, associated []byte) (out []byte, again bool, err error) {
	if current, err := k.seals(UnderWrapped(wrapped)); current || err != nil {
		return wrapped, false, err
	}
	data, err := k.Unwrap(wrapped, associated)
	if err != nil {
		return nil, false, err
	}
	out, err = k.Wrap(data, associated)
	return out, true, err
}

func (k Key) seals(id ID, err error) (bool, error) {
	if k.IsZero() {
		return false, ErrNoKey
	}
	return err == nil && id == k.IDs()[0], err
}
