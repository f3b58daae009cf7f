package jose

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"reflect"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Signer signs with one key and one algorithm. The private part stays behind crypto.Signer, so it may live in a KMS or a
// token. The zero Signer signs nothing.
type Signer struct {
	key    Key
	signer crypto.Signer
}

// NewSigner makes a Signer. The rules for keys are those of NewKey; a kid is required, because whoever verifies finds
// the key by it.
func NewSigner(kid string, alg Algorithm, key crypto.Signer) (Signer, error) {
	if key == nil || kid == "" {
		return Signer{}, fmt.Errorf("%w: a signer needs a key and a kid", ErrKey)
	}
	if v := reflect.ValueOf(key); v.Kind() == reflect.Pointer && v.IsNil() {
		return Signer{}, fmt.Errorf("%w: nil %T", ErrKey, key)
	}
	public, err := NewKey(kid, alg, key.Public())
	if err != nil {
		return Signer{}, err
	}
	return Signer{key: public, signer: key}, nil
}

// Key is the public half.
func (s Signer) Key() Key { return s.key }

// String names the key and never shows it.
func (s Signer) String() string { return "jose.Signer " + s.key.kid }

// GoString is String: a %#v must not walk into the private key.
func (s Signer) GoString() string { return s.String() }

// Format writes String for every verb.
func (s Signer) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// Sign makes a compact JWS of payload. The header has alg, kid and, unless it is empty, typ.
func (s Signer) Sign(typ string, payload []byte) (string, error) {
	if s.signer == nil {
		return "", fmt.Errorf("%w: no key", ErrKey)
	}
	return s.signWith(struct {
		Alg Algorithm `json:"alg"`
		Kid string    `json:"kid"`
		Typ string    `json:"typ,omitempty"`
	}{s.key.alg, s.key.kid, typ}, payload)
}

// signWith signs payload under a header of ours.
func (s Signer) signWith(members any, payload []byte) (string, error) {
	header, err := Encode(members)
	if err != nil {
		return "", err
	}
	const maxSignature = maxRSABits / 8
	b64 := base64.RawURLEncoding
	token := make([]byte, 0, b64.EncodedLen(len(header))+b64.EncodedLen(len(payload))+b64.EncodedLen(maxSignature)+2)
	token = b64.AppendEncode(token, header)
	token = append(token, '.')
	token = b64.AppendEncode(token, payload)
	signature, err := s.sign(token)
	if err != nil {
		return "", err
	}
	token = append(token, '.')
	return string(b64.AppendEncode(token, signature)), nil
}

// sign goes to the standard library for every algorithm: a crypto.Signer is its interface.
func (s Signer) sign(signed []byte) ([]byte, error) {
	if s.key.alg.family() == EdDSA {
		return s.checked(s.signer.Sign(nil, signed, crypto.Hash(0)))
	}
	sum := sha256.Sum256(signed)
	switch s.key.alg {
	case ES256:
		der, err := s.checked(s.signer.Sign(rand.Reader, sum[:], crypto.SHA256))
		if err != nil {
			return nil, err
		}
		return es256FromDER(der)
	case PS256:
		return s.checked(s.signer.Sign(rand.Reader, sum[:], pssOptions))
	default:
		return s.checked(s.signer.Sign(rand.Reader, sum[:], crypto.SHA256))
	}
}

func (s Signer) checked(signature []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: cannot sign: %w", ErrKey, err)
	}
	return signature, nil
}

// es256FromDER turns the ASN.1 of crypto.Signer into r and s, 32 bytes each (RFC 7518 §3.4).
func es256FromDER(der []byte) ([]byte, error) {
	var body cryptobyte.String
	var r, s []byte
	in := cryptobyte.String(der)
	if !in.ReadASN1(&body, asn1.SEQUENCE) || !in.Empty() || !body.ReadASN1Integer(&r) || !body.ReadASN1Integer(&s) ||
		!body.Empty() || len(r) > es256Half || len(s) > es256Half {
		return nil, fmt.Errorf("%w: the signer gave no ECDSA signature", ErrKey)
	}
	out := make([]byte, 2*es256Half)
	copy(out[es256Half-len(r):], r)
	copy(out[2*es256Half-len(s):], s)
	return out, nil
}
