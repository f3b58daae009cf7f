// Package seal encrypts what rests in the stores: signing keys, and the data keys under which the vault seals credentials.
//
// It is a thin coat over tink's AES-256-GCM. Every ciphertext is bound to associated data that says what it is and whose, so
// that a row that was moved to another org, connection or key id does not open. There is no unbound form.
package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// The reasons for which this package refuses. Compare with errors.Is.
var (
	// ErrNoKey: the Key is its zero value.
	ErrNoKey = errors.New("seal: no key")
	// ErrOpen: wrong key, wrong associated data or changed bytes. Which of them is not said, because it is not known.
	ErrOpen = errors.New("seal: does not open with this key and this associated data")
	// ErrKey: the keyset is not an AES-256-GCM keyset.
	ErrKey = errors.New("seal: not an AES-256-GCM keyset")
)

// Key seals and opens: a keyset, so that it can hold other keys beside the one that seals. Copies share it, so that all who hold
// the key of a file act by the file when it has been read again (Adopt). It is safe for many goroutines. Printing it in any way
// shows no key bytes.
type Key struct {
	shared *atomic.Pointer[keys] // nil in the zero Key
}

type keys struct {
	handle    *keyset.Handle
	primitive tink.AEAD
}

// What a ciphertext holds is part of its associated data: a wrapped data key that is handed to Open as if it were data, or
// the other way round, fails whatever the callers chose as associated data.
const (
	holdsData = 'd'
	holdsKey  = 'k'
)

const maxKeyset = 16 << 10

// NewDataKey makes a fresh key, to be kept wrapped by another.
func NewDataKey() (Key, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return Key{}, fmt.Errorf("seal: new key: %w", err)
	}
	return newKey(handle)
}

func newKey(handle *keyset.Handle) (Key, error) {
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
		}
		key, ok := entry.Key().(*aesgcm.Key)
		if !ok || key.Parameters().(*aesgcm.Parameters).KeySizeInBytes() != 32 {
			return Key{}, ErrKey
		}
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	k := Key{new(atomic.Pointer[keys])}
	k.shared.Store(&keys{handle, primitive})
	return k, nil
}

// IsZero reports whether k holds no key. Who needs a key for security refuses a zero one when it is constructed.
func (k Key) IsZero() bool { return k.shared == nil }

// Adopt lets k, and every copy of it, seal and open as next does from now on. Neither may be zero.
func (k Key) Adopt(next Key) error {
	if k.IsZero() || next.IsZero() {
		return ErrNoKey
	}
	k.shared.Store(next.shared.Load())
	return nil
}

// Seal encrypts plaintext and binds it to associated, which is not secret and is needed again to open it.
func (k Key) Seal(plaintext, associated []byte) ([]byte, error) {
	if k.IsZero() {
		return nil, ErrNoKey
	}
	sealed, err := k.shared.Load().primitive.Encrypt(plaintext, bind(holdsData, associated))
	if err != nil {
		return nil, fmt.Errorf("seal: encrypt: %w", err)
	}
	return sealed, nil
}

// Open is the inverse of Seal. It fails with ErrOpen.
func (k Key) Open(sealed, associated []byte) ([]byte, error) {
	if k.IsZero() {
		return nil, ErrNoKey
	}
	plaintext, err := k.shared.Load().primitive.Decrypt(sealed, bind(holdsData, associated))
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}

// Wrap seals a data key under k and binds it to associated.
func (k Key) Wrap(data Key, associated []byte) ([]byte, error) {
	if k.IsZero() || data.IsZero() {
		return nil, ErrNoKey
	}
	var b bytes.Buffer
	err := data.shared.Load().handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&b), k.shared.Load().primitive, bind(holdsKey, associated))
	if err != nil {
		return nil, fmt.Errorf("seal: wrap: %w", err)
	}
	return b.Bytes(), nil
}

// Unwrap is the inverse of Wrap. It fails with ErrOpen, or with ErrKey when what it finds is no data key.
func (k Key) Unwrap(sealed, associated []byte) (Key, error) {
	if k.IsZero() {
		return Key{}, ErrNoKey
	}
	if len(sealed) > maxKeyset {
		return Key{}, ErrOpen
	}
	r := keyset.NewBinaryReader(bytes.NewReader(sealed))
	handle, err := keyset.ReadWithAssociatedData(r, k.shared.Load().primitive, bind(holdsKey, associated))
	if err != nil {
		return Key{}, ErrOpen
	}
	return newKey(handle)
}

func bind(holds byte, associated []byte) []byte {
	out := make([]byte, 0, 1+len(associated))
	return append(append(out, holds), associated...)
}

const redacted = "[sealing key]"

// String says that it is a key, and nothing of it.
func (k Key) String() string { return redacted }

// GoString is String, for %#v.
func (k Key) GoString() string { return redacted }

// Format answers every verb with String: %x and %v of a struct that holds a Key print nothing of it either.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is String, for slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText refuses to write a key by accident in JSON or YAML.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
