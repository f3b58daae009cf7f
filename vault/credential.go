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

// The first byte of a credential's plaintext: whether a refresh token is in it.
const (
	encoding        = 1
	encodingRefresh = 2
)

// Credential is the secret of a connection. No way of printing it shows it. The bytes are not a string because a string
// cannot be wiped.
type Credential struct {
	username string
	secret   []byte
	refresh  []byte
}

// NewCredential makes a credential to be sealed: a key, or a user name with a password. It keeps the slice.
func NewCredential(username string, secret []byte) Credential {
	return Credential{username: username, secret: secret}
}

// NewGrant makes the credential of a grant: an access token, and a refresh token or nil. It keeps the slices.
func NewGrant(access, refresh []byte) Credential { return Credential{secret: access, refresh: refresh} }

// Username is the user name, empty when there is none.
func (c Credential) Username() string { return c.username }

// Reveal is the secret. Inside Vault.Use it is valid until the callback returns, and then zero.
func (c Credential) Reveal() []byte { return c.secret }

// Refresh is the refresh token, nil when there is none. It is valid as long as Reveal's is.
func (c Credential) Refresh() []byte { return c.refresh }

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

// encode is the plaintext that is sealed: a format byte, the length of the user name, the user name, with a refresh token its
// length and itself, and the secret.
func (c Credential) encode() ([]byte, error) {
	if len(c.secret) == 0 || len(c.secret) > MaxSecret || len(c.username) > MaxSecret || len(c.refresh) > MaxSecret {
		return nil, fmt.Errorf("%w: the secret needs 1 to %d bytes", ErrCredential, MaxSecret)
	}
	b := make([]byte, 0, 1+2+len(c.username)+2+len(c.refresh)+len(c.secret))
	b = append(b, encoding)
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.username)))
	b = append(b, c.username...)
	if len(c.refresh) > 0 {
		b[0] = encodingRefresh
		b = binary.BigEndian.AppendUint16(b, uint16(len(c.refresh)))
		b = append(b, c.refresh...)
	}
	return append(b, c.secret...), nil
}

// decode is the inverse. The secrets are a part of plain, so that wiping plain wipes them.
func decode(plain []byte) (Credential, error) {
	if len(plain) < 3 || plain[0] != encoding && plain[0] != encodingRefresh {
		return Credential{}, fmt.Errorf("%w: unknown encoding", ErrOpen)
	}
	username, rest, ok := field(plain[1:])
	var refresh []byte
	if ok && plain[0] == encodingRefresh {
		refresh, rest, ok = field(rest)
	}
	if !ok || len(rest) == 0 {
		return Credential{}, fmt.Errorf("%w: cut short", ErrOpen)
	}
	return Credential{username: string(username), secret: rest, refresh: refresh}, nil
}

// field takes a length and as many bytes off the front.
func field(b []byte) (value, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n : 2+n], b[2+n:], true
}
