package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/onbehalf/obo/jose"
)

// Why a proof is not accepted. Compare with errors.Is.
var (
	// ErrProof: not exactly one proof, or one that is not made for this request, by this key, now, for the first time. It is
	// invalid_dpop_proof (RFC 9449 §5, §7.1).
	ErrProof = errors.New("dpop: proof refused")
	// ErrNonce: the proof needs a nonce that is ours and lives. It is use_dpop_nonce (RFC 9449 §8): send one along.
	ErrNonce = errors.New("dpop: a nonce is needed")
	// ErrUnavailable: it cannot be known whether the proof was used before. Refuse, and let the sender try again.
	ErrUnavailable = errors.New("dpop: cannot be checked now")
)

// Algorithms are those that a Checker takes, as "algs" of a challenge lists them (RFC 9449 §7.1).
const Algorithms = "ES256 EdDSA Ed25519 PS256 RS256"

// The limits of a proof.
const (
	maxProof      = 8 << 10          // bytes
	maxID         = 256              // bytes of jti
	defaultWindow = 60 * time.Second // from iat
	maxWindow     = 10 * time.Minute
	maxAhead      = 10 * time.Second // of our clock (JW11)
	maxDate       = 253402300799     // the last second of the year 9999
)

// Request is an HTTP request whose sender says that it has a key.
type Request struct {
	Proofs []string // the values of the DPoP header, or of the gRPC metadata "dpop": exactly one is a proof
	Method string   // of the request; POST for gRPC (DP10)
	URI    string   // of the request, absolute, as its sender sees it; a query and a fragment do not count (DP2)
	Token  string   // the access token that is presented to a resource; empty at the authorization server
}

// Proof is a proof that a Checker accepted.
type Proof struct {
	JKT string // the SHA-256 thumbprint of its key (RFC 7638), as in a token's "cnf"

	key   [sha256.Size]byte
	until time.Time
}

// Key is what a Replay remembers: a hash of the proof's key, target URI and jti, of one size whatever was sent (DP3). With
// the key in it nobody can use up the jti of another.
func (p Proof) Key() [32]byte { return p.key }

// Until is when the Key may be forgotten: from then on the proof is too old, on a clock that is 10 s behind too.
func (p Proof) Until() time.Time { return p.until }

// Config is what a Checker must know.
type Config struct {
	Now    func() time.Time // time.Now when nil
	Nonces *Nonces          // nil: none are asked for, and one that comes is not looked at
	Window time.Duration    // for how long a proof is good: 60 s when zero, at most 10 minutes
}

// Checker checks proofs. It may be used by many goroutines.
type Checker struct{ config Config }

// NewChecker checks the configuration.
func NewChecker(config Config) (*Checker, error) {
	if config.Window < 0 || config.Window > maxWindow {
		return nil, fmt.Errorf("dpop: a Window is up to %s, not %s", maxWindow, config.Window)
	}
	if config.Window == 0 {
		config.Window = defaultWindow
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Checker{config}, nil
}

// claims are those of RFC 9449 §4.2. Others mean nothing here.
type claims struct {
	ID       string   `json:"jti"`
	Method   string   `json:"htm"`
	URI      string   `json:"htu"`
	IssuedAt *float64 `json:"iat"`
	Token    string   `json:"ath"`
	Nonce    string   `json:"nonce"`
}

// Check accepts the one proof of a request by the rules of RFC 9449 §4.3. It does not know whether the proof was used
// before; the caller must find out, with Key and Until, as soon as it knows who asks.
func (c *Checker) Check(r Request) (Proof, error) {
	key, payload, err := open(r.Proofs)
	if err != nil {
		return Proof{}, err
	}
	var p claims
	if err := jose.DecodeClaims(payload, &p); err != nil {
		return Proof{}, refused("its claims are not one JSON object of the right kinds")
	}
	now := c.config.Now()
	uri, err := p.fit(r)
	if err != nil {
		return Proof{}, err
	}
	issued, err := p.issued(now, c.config.Window)
	if err != nil {
		return Proof{}, err
	}
	if c.config.Nonces != nil && !c.config.Nonces.Valid(p.Nonce, now) { // last: a nonce is for who did the rest right
		return Proof{}, ErrNonce
	}
	return Proof{
		JKT: key.Thumbprint(), key: replayKey(key.Thumbprint(), uri, p.ID), until: issued.Add(c.config.Window + maxAhead),
	}, nil
}

// Nonce is a fresh nonce for the sender of a request, or empty when none are asked for.
func (c *Checker) Nonce() (string, error) {
	if c.config.Nonces == nil {
		return "", nil
	}
	return c.config.Nonces.Issue(c.config.Now())
}

// open reads the one proof and verifies its signature by the key that it brings (DP1).
func open(proofs []string) (jose.Key, []byte, error) {
	switch {
	case len(proofs) == 0:
		return jose.Key{}, nil, refused("there is none")
	case len(proofs) > 1:
		return jose.Key{}, nil, refused("there are several: want exactly one")
	case len(proofs[0]) > maxProof:
		return jose.Key{}, nil, refused("too long")
	}
	m, key, err := jose.ParseProof(proofs[0])
	switch {
	case errors.Is(err, jose.ErrHeader), errors.Is(err, jose.ErrAlgorithm):
		return jose.Key{}, nil, refused("its header: want typ dpop+jwt, an asymmetric alg that is offered, and a public jwk for it")
	case err != nil:
		return jose.Key{}, nil, refused("not a compact JWS")
	}
	payload, err := m.Verify(key)
	if err != nil {
		return jose.Key{}, nil, refused("the signature is not by its jwk")
	}
	return key, payload, nil
}

// fit holds the claims against the request, and returns the target URI in its one spelling.
func (p *claims) fit(r Request) (string, error) {
	target, _, ok := normalize(r.URI)
	uri, rest, known := normalize(p.URI)
	switch {
	case p.ID == "" || len(p.ID) > maxID:
		return "", refused("jti: want 1 to 256 bytes")
	case p.Method == "" || p.Method != r.Method:
		return "", refused("htm is not the method of the request")
	case !known || rest:
		return "", refused("htu: want an absolute https or http URI without query and fragment")
	case !ok || uri != target:
		return "", refused("htu is not the URI of the request")
	case r.Token != "" && subtle.ConstantTimeCompare([]byte(p.Token), []byte(TokenHash(r.Token))) != 1:
		return "", refused("ath is not the hash of the access token")
	}
	return uri, nil
}

// issued is the iat when it is within the window (DP3). A fraction is dropped (JW10).
func (p *claims) issued(now time.Time, window time.Duration) (time.Time, error) {
	if p.IssuedAt == nil || *p.IssuedAt < 0 || *p.IssuedAt > maxDate {
		return time.Time{}, refused("iat: want a number of seconds since 1970")
	}
	issued := time.Unix(int64(*p.IssuedAt), 0)
	switch {
	case issued.After(now.Add(maxAhead)):
		return time.Time{}, refused("iat is in the future")
	case !now.Before(issued.Add(window)):
		return time.Time{}, refused("iat is too long ago")
	}
	return issued, nil
}

// TokenHash is the "ath" of an access token (RFC 9449 §4.2).
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// replayKey hashes parts of any length, each behind its length, so that no two lists of parts are one text.
func replayKey(parts ...string) [sha256.Size]byte {
	var text []byte
	for _, part := range parts {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	return sha256.Sum256(text)
}

// refused is ErrProof with a text of ours.
func refused(why string) error { return fmt.Errorf("%w: %s", ErrProof, why) }
