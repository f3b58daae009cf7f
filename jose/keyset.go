package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/lestrrat-go/jwx/v2/jwk"
)

// MaxKeySetSize is the longest JWK set, in bytes, that ParseKeySet reads.
const MaxKeySetSize = 512 << 10

// maxKeys is how many keys of a set are used; a set of more is refused.
const maxKeys = 256

// KeySet is an immutable set of public keys. The zero KeySet is empty.
type KeySet struct {
	keys []Key
	byID map[string][]int
}

// NewKeySet makes a set of keys, in order.
func NewKeySet(keys ...Key) KeySet {
	s := KeySet{keys: append([]Key(nil), keys...), byID: make(map[string][]int, len(keys))}
	for i, k := range s.keys {
		s.byID[k.kid] = append(s.byID[k.kid], i)
	}
	return s
}

// ParseKeySet reads a JWK set (RFC 7517 §5). Keys that this package has no use for are passed over: unknown kty or alg,
// use other than sig, key_ops without verify, symmetric, weak or of a broken generator (CVE-2017-15361), and any that carries
// private members (JW12). A key without alg is for ES256 when it is on P-256, for EdDSA when it is Ed25519, and for RS256 when
// it is RSA.
func ParseKeySet(data []byte) (KeySet, error) {
	if len(data) > MaxKeySetSize {
		return KeySet{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxKeySetSize)
	}
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := DecodeClaims(data, &set); err != nil {
		return KeySet{}, err
	}
	if set.Keys == nil || len(set.Keys) > maxKeys {
		return KeySet{}, fmt.Errorf("%w: a key set has up to %d keys", ErrMalformed, maxKeys)
	}
	var keys []Key
	for _, raw := range set.Keys {
		if k, err := parsePublicJWK(raw, ""); err == nil {
			keys = append(keys, k)
		}
	}
	return NewKeySet(keys...), nil
}

// Find returns the key of that id and algorithm. An empty kid finds a key only when exactly one of the set has the
// algorithm.
func (s KeySet) Find(kid string, alg Algorithm) (Key, bool) {
	if kid != "" {
		for _, i := range s.byID[kid] {
			if s.keys[i].alg.family() == alg.family() {
				return s.keys[i], true
			}
		}
		return Key{}, false
	}
	var found Key
	n := 0
	for _, k := range s.keys {
		if k.alg.family() == alg.family() {
			found = k
			n++
		}
	}
	if n != 1 {
		return Key{}, false
	}
	return found, true
}

// Keys returns the keys, in order.
func (s KeySet) Keys() []Key { return append([]Key(nil), s.keys...) }

// JSON is the JWK set: public members only, each key with its kid, alg and use (MD6).
func (s KeySet) JSON() []byte {
	out := []byte(`{"keys":[`)
	for i, k := range s.keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, k.json...)
	}
	return append(out, "]}"...)
}

// publicMembers is what is looked at before the library sees a key.
type publicMembers struct {
	Kty string         `json:"kty"`
	Crv string         `json:"crv"`
	Kid string         `json:"kid"`
	Alg Algorithm      `json:"alg"`
	Use string         `json:"use"`
	Ops []string       `json:"key_ops"`
	D   jsontext.Value `json:"d"`
	K   jsontext.Value `json:"k"`
	P   jsontext.Value `json:"p"`
	Q   jsontext.Value `json:"q"`
	DP  jsontext.Value `json:"dp"`
	DQ  jsontext.Value `json:"dq"`
	QI  jsontext.Value `json:"qi"`
	Oth jsontext.Value `json:"oth"`
}

// isFor reports whether the key may be used for a signature operation, as far as it says what it is for (RFC 7517 §4.3).
func (m *publicMembers) isFor(operation string) bool {
	return (m.Use == "" || m.Use == "sig") && (m.Ops == nil || slices.Contains(m.Ops, operation))
}

func (m *publicMembers) private() bool {
	return slices.ContainsFunc([]jsontext.Value{m.D, m.K, m.P, m.Q, m.DP, m.DQ, m.QI, m.Oth},
		func(v jsontext.Value) bool { return v != nil })
}

// parsePublicJWK reads a public key. It is for the algorithm alg when that is not empty, and else for its own.
func parsePublicJWK(data []byte, alg Algorithm) (Key, error) {
	var m publicMembers
	if err := DecodeClaims(data, &m); err != nil {
		return Key{}, err
	}
	if m.private() || !m.isFor("verify") {
		return Key{}, fmt.Errorf("%w: not a public signature key", ErrKey)
	}
	if m.Alg == "" {
		m.Alg = alg
	}
	own, err := keyAlgorithm(m)
	if err != nil {
		return Key{}, err
	}
	if alg != "" && own.family() != alg.family() {
		return Key{}, fmt.Errorf("%w: the key is for %s", ErrAlgorithm, own)
	}
	j, err := jwk.ParseKey(data)
	if err != nil {
		return Key{}, fmt.Errorf("%w: not a JWK", ErrKey)
	}
	switch m.Kty {
	case "EC":
		var pub ecdsa.PublicKey
		if err := j.Raw(&pub); err != nil {
			return Key{}, fmt.Errorf("%w: not a P-256 key", ErrKey)
		}
		return NewKey(m.Kid, own, &pub)
	case "OKP":
		var pub ed25519.PublicKey
		if err := j.Raw(&pub); err != nil {
			return Key{}, fmt.Errorf("%w: not an Ed25519 key", ErrKey)
		}
		return NewKey(m.Kid, own, pub)
	default:
		var pub rsa.PublicKey
		if err := j.Raw(&pub); err != nil {
			return Key{}, fmt.Errorf("%w: not an RSA key", ErrKey)
		}
		return NewKey(m.Kid, own, &pub)
	}
}

// keyAlgorithm is the one algorithm of a JWK, from its alg or, without one, from its type.
func keyAlgorithm(m publicMembers) (Algorithm, error) {
	var alg Algorithm
	switch {
	case m.Kty == "EC" && m.Crv == "P-256":
		alg = ES256
	case m.Kty == "OKP" && m.Crv == "Ed25519":
		alg = EdDSA
	case m.Kty == "RSA":
		alg = RS256
	default:
		return "", fmt.Errorf("%w: kty and crv", ErrKey)
	}
	if m.Alg != "" {
		alg = m.Alg
	}
	if !alg.known() {
		return "", fmt.Errorf("%w: alg", ErrKey)
	}
	return alg, nil
}
