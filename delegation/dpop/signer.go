package dpop

import (
	"errors"
	"time"

	"github.com/onbehalf/obo/jose"
)

// NewSignerProver is NewProver with a key that has been read already, such as a private JWK.
func NewSignerProver(key jose.Signer, now func() time.Time) (*Prover, error) {
	if key.Key().Thumbprint() == "" {
		return nil, errors.New("dpop: a prover needs a key")
	}
	if now == nil {
		now = time.Now
	}
	return &Prover{signer: key, now: now}, nil
}
