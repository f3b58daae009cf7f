//go:build pkcs11

package pkcs11

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/ThalesGroup/crypto11"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// Config says which token.
type Config struct {
	Module     string           // path of the vendor's library
	TokenLabel string           // of the token in it
	PIN        telemetry.Secret // of its user
}

// Source is one token. It is safe for many goroutines.
type Source struct{ token *crypto11.Context }

// Open logs in to the token.
func Open(c Config) (*Source, error) {
	token, err := crypto11.Configure(&crypto11.Config{Path: c.Module, TokenLabel: c.TokenLabel, Pin: c.PIN.Reveal()})
	if err != nil {
		return nil, fmt.Errorf("pkcs11: token %q of %s: %w", c.TokenLabel, c.Module, err)
	}
	return &Source{token}, nil
}

// Close logs out.
func (s *Source) Close() error { return s.token.Close() }

const rsaBits = 3072

// Generate implements keys.Source: a key pair with a label that nobody has used, whose private part cannot be read out.
func (s *Source) Generate(_ context.Context, alg jose.Algorithm) (string, error) {
	label := "obo-" + rand.Text()
	id := []byte(label)
	var err error
	switch alg {
	case jose.ES256:
		_, err = s.token.GenerateECDSAKeyPairWithLabel(id, id, elliptic.P256())
	case jose.PS256, jose.RS256:
		_, err = s.token.GenerateRSAKeyPairWithLabel(id, id, rsaBits)
	default:
		err = errors.New("makes keys for ES256, PS256 and RS256 only")
	}
	if err != nil {
		return "", fmt.Errorf("pkcs11: %w", err)
	}
	return label, nil
}

// Signer implements keys.Source. Two keys of one label are none: which of them signs would be chance.
func (s *Source) Signer(_ context.Context, label string) (crypto.Signer, error) {
	if label == "" {
		return nil, errors.New("pkcs11: no label")
	}
	found, err := s.token.FindKeyPairs(nil, []byte(label))
	switch {
	case err != nil:
		return nil, fmt.Errorf("pkcs11: %w", err)
	case len(found) != 1:
		return nil, fmt.Errorf("pkcs11: %d key pairs have the label %q: want one, private and public half", len(found), label)
	}
	return found[0], nil
}
