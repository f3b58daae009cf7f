package dpop

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// maxNonce is the longest nonce, in bytes, that is looked at.
const maxNonce = 256

// defaultNonceLife is how long a nonce lives when nobody says.
const defaultNonceLife = 5 * time.Minute

// Sealer encrypts and authenticates, so that no two results are alike and nobody else can make one. seal.Key is one.
type Sealer interface {
	Seal(plaintext, associated []byte) ([]byte, error)
	Open(sealed, associated []byte) ([]byte, error)
}

// Nonces hands out nonces and knows its own again, on every replica that has the same key: a nonce is its own time, sealed
// (DP4). With them a proof cannot be made long before it is used (RFC 9449 §11.2).
type Nonces struct {
	sealer   Sealer
	audience []byte
	life     time.Duration

	mu     sync.Mutex
	second int64  // of last
	last   string // empty before the first
}

// NewNonces makes nonces for an audience, such as "as" or "rs": those of one are not taken by the other. They live for life,
// or 5 minutes when it is zero.
func NewNonces(s Sealer, audience string, life time.Duration) *Nonces {
	if life <= 0 {
		life = defaultNonceLife
	}
	return &Nonces{sealer: s, audience: []byte("dpop nonce for " + audience), life: life}
}

// Issue makes a nonce: unpredictable, and good on any replica. All that are asked for in one second are the same, so that nobody
// can wear the key out: how often one key may seal is limited, and anybody may ask.
func (n *Nonces) Issue(now time.Time) (string, error) {
	if n == nil || n.sealer == nil {
		return "", fmt.Errorf("%w: no key for nonces", ErrUnavailable)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	second := now.Unix()
	if n.last != "" && second == n.second {
		return n.last, nil
	}
	sealed, err := n.sealer.Seal(binary.BigEndian.AppendUint64(nil, uint64(second)), n.audience)
	if err != nil {
		return "", fmt.Errorf("%w: nonce: %w", ErrUnavailable, err)
	}
	n.last, n.second = base64.RawURLEncoding.EncodeToString(sealed), second
	return n.last, nil
}

// Valid reports whether a nonce is one of ours, for our audience, and lives.
func (n *Nonces) Valid(nonce string, now time.Time) bool {
	if n == nil || n.sealer == nil || nonce == "" || len(nonce) > maxNonce {
		return false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil {
		return false
	}
	plain, err := n.sealer.Open(sealed, n.audience)
	if err != nil || len(plain) != 8 {
		return false
	}
	issued := time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
	return now.Before(issued.Add(n.life)) && !issued.After(now.Add(maxAhead)) // another replica's clock may be ahead
}
