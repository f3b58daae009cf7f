package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// MaxSecret is the longest secret or user name, in bytes.
const MaxSecret = 8 << 10

// encoding is the first byte of a credential's plaintext.
const encoding = 1

// Credential is the secret of a connection. No way of printing it shows it. The bytes are not a string because a string
// cannot be wiped.
type Credential struct {
	username string
	secret   []byte
}

// NewCredential makes a credential to be sealed: a key, or a user name with a password. It keeps the slice.
func NewCredential(username string, secret []byte) Credential {
	return Credential{username: username, secret: secret}
}

// Username is the user name, empty when there is none.
func (c Credential) Username() string { return c.username }

// Reveal is the secret. Inside Vault.Use it is valid until the callback returns, and then zero.
func (c Credential) Reveal() []byte { return c.secret }

// String hides the credential.
func (Credential) String() string { return "[redacted]" }

// GoString hides the credential.
func (Credential) GoString() string { return "[redacted]" }

// Format hides the credential for every verb.
func (Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue hides the credential.
func (Credential) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText refuses: a credential is never written in the clear by accident.
func (Credential) MarshalText() ([]byte, error) {
	return nil, errors.New("vault: a credential does not marshal")
}

// encode is the plaintext that is sealed: a format byte, the length of the user name, the user name, the secret.
func (c Credential) encode() ([]byte, error) {
	if len(c.secret) == 0 || len(c.secret) > MaxSecret || len(c.username) > MaxSecret {
		return nil, fmt.Errorf("%w: the secret needs 1 to %d bytes", ErrCredential, MaxSecret)
	}
	b := make([]byte, 0, 1+2+len(c.username)+len(c.secret))
	b = append(b, encoding)
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.username)))
	b = append(b, c.username...)
	return append(b, c.secret...), nil
}

// decode is the inverse. The secret is a part of plain, so that wiping plain wipes it.
func decode(plain []byte) (Credential, error) {
	if len(plain) < 3 || plain[0] != encoding {
		return Credential{}, fmt.Errorf("%w: unknown encoding", ErrOpen)
	}
	n := int(binary.BigEndian.Uint16(plain[1:]))
	if len(plain) < 3+n+1 {
		return Credential{}, fmt.Errorf("%w: cut short", ErrOpen)
	}
	return Credential{username: string(plain[3 : 3+n]), secret: plain[3+n:]}, nil
}
