package jose

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxKeyID is the longest "kid", in bytes: a lookup key, never a path or a query (JW6).
const maxKeyID = 256

// Message is a compact JWS (RFC 7515 §3.1) that was parsed. Nothing in it is verified.
type Message struct {
	typ       string
	alg       Algorithm
	kid       string
	plain     bool
	signed    string // header and payload as they were signed
	payload   []byte
	signature []byte
}

// Parse reads a compact JWS and judges its form and its header, not its signature. It refuses what is longer than
// MaxTokenSize, JSON serializations, padding, stray bits, parts other than three, unnamed algorithms, and every header
// member that asks the reader to fetch, trust or skip something.
func Parse(token string) (Message, error) {
	m, header, err := split(token)
	if err != nil {
		return Message{}, err
	}
	if err := m.readHeader(header); err != nil {
		return Message{}, err
	}
	return m, nil
}

// split takes a compact JWS apart and returns its header undecoded.
func split(token string) (Message, []byte, error) {
	if len(token) > MaxTokenSize {
		return Message{}, nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxTokenSize)
	}
	if strings.Count(token, ".") != 2 {
		return Message{}, nil, fmt.Errorf("%w: not three parts", ErrMalformed)
	}
	dot, last := strings.IndexByte(token, '.'), strings.LastIndexByte(token, '.')
	header, err := decodePart("header", token[:dot])
	if err != nil {
		return Message{}, nil, err
	}
	m := Message{signed: token[:last]}
	if m.payload, err = decodePart("payload", token[dot+1:last]); err != nil {
		return Message{}, nil, err
	}
	if m.signature, err = decodePart("signature", token[last+1:]); err != nil {
		return Message{}, nil, err
	}
	return m, header, nil
}

// Type is the header's "typ" as it is to be compared: lower case, without "application/" (RFC 7515 §4.1.9, AT6). It is
// empty when there is none.
func (m Message) Type() string { return m.typ }

// Algorithm is the header's "alg": what the sender claims.
func (m Message) Algorithm() Algorithm { return m.alg }

// KeyID is the header's "kid", or empty.
func (m Message) KeyID() string { return m.kid }

// Plain reports whether the header has no member but alg, kid and typ. A foreign issuer may add harmless ones, such as
// x5t; our own tokens have none.
func (m Message) Plain() bool { return m.plain }

// UnverifiedPayload is the payload before any proof: good for finding out who is to be asked for a key, and no more.
// The caller must not change it.
func (m Message) UnverifiedPayload() []byte { return m.payload }

// Verify checks the signature with k and returns the payload. The header's algorithm must be the key's own (JW2).
func (m Message) Verify(k Key) ([]byte, error) {
	if m.signed == "" || k.public == nil {
		return nil, ErrSignature
	}
	if m.alg.family() != k.alg.family() {
		return nil, fmt.Errorf("%w: the key is for %s", ErrAlgorithm, k.alg)
	}
	if err := k.verify([]byte(m.signed), m.signature); err != nil {
		return nil, err
	}
	return m.payload, nil
}

// strict64 refuses padding and non-zero trailing bits, so one token has one spelling (JW8).
var strict64 = base64.RawURLEncoding.Strict()

func decodePart(name, part string) ([]byte, error) {
	if part == "" {
		return nil, fmt.Errorf("%w: empty %s", ErrMalformed, name)
	}
	for i := range len(part) { // the decoder would skip line breaks
		if part[i] == '\r' || part[i] == '\n' {
			return nil, fmt.Errorf("%w: %s is not base64url", ErrMalformed, name)
		}
	}
	data, err := strict64.DecodeString(part)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not base64url", ErrMalformed, name)
	}
	return data, nil
}

// header is what may be read of a JOSE header. The members that are named only to be refused keep their raw value, so
// that even a null is seen.
type header struct {
	Typ  *string        `json:"typ"`
	Alg  Algorithm      `json:"alg"`
	Kid  *string        `json:"kid"`
	Crit jsontext.Value `json:"crit"`
	B64  jsontext.Value `json:"b64"`
	Zip  jsontext.Value `json:"zip"`
	Enc  jsontext.Value `json:"enc"`
	JKU  jsontext.Value `json:"jku"`
	JWK  jsontext.Value `json:"jwk"`
	X5U  jsontext.Value `json:"x5u"`
	X5C  jsontext.Value `json:"x5c"`
	More jsontext.Value `json:",embed"`
}

// refused is the name of the first member that is refused: crit and b64 change what is signed (JW7), jku, jwk, x5u and
// x5c bring their own trust (JW6), zip and enc belong to encryption (JW16).
func (h *header) refused() string {
	for _, member := range []struct {
		name  string
		value jsontext.Value
	}{
		{"crit", h.Crit}, {"b64", h.B64}, {"zip", h.Zip}, {"enc", h.Enc},
		{"jku", h.JKU}, {"jwk", h.JWK}, {"x5u", h.X5U}, {"x5c", h.X5C},
	} {
		if member.value != nil {
			return member.name
		}
	}
	return ""
}

func (m *Message) readHeader(data []byte) error {
	var h header
	if err := DecodeClaims(data, &h); err != nil {
		return fmt.Errorf("%w: %w", ErrHeader, err)
	}
	return m.takeHeader(&h)
}

// takeHeader judges a header that was decoded.
func (m *Message) takeHeader(h *header) error {
	if name := h.refused(); name != "" {
		return fmt.Errorf("%w: %s", ErrHeader, name)
	}
	if !h.Alg.known() {
		return fmt.Errorf("%w: none of ES256, EdDSA, Ed25519, PS256, RS256", ErrAlgorithm)
	}
	m.alg, m.plain = h.Alg, h.More == nil
	if h.Kid != nil {
		if err := checkKeyID(*h.Kid); err != nil {
			return fmt.Errorf("%w: %w", ErrHeader, err)
		}
		m.kid = *h.Kid
	}
	if h.Typ != nil {
		if *h.Typ == "" || len(*h.Typ) > 127 || !printable(*h.Typ) {
			return fmt.Errorf("%w: typ", ErrHeader)
		}
		m.typ = strings.TrimPrefix(strings.ToLower(*h.Typ), "application/")
	}
	return nil
}

func checkKeyID(kid string) error {
	if kid == "" || len(kid) > maxKeyID || !printable(kid) {
		return fmt.Errorf("%w: a kid is 1 to %d printable ASCII characters", ErrMalformed, maxKeyID)
	}
	return nil
}

// printable reports whether s is ASCII from space to tilde.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
