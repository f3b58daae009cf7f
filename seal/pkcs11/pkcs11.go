//go:build pkcs11

package pkcs11

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/ThalesGroup/crypto11"

	"github.com/onbehalf/obo/telemetry"
)

// Config says which key of which token.
type Config struct {
	Module     string           // path of the vendor's library
	TokenLabel string           // of the token in it
	PIN        telemetry.Secret // of its user
	Key        string           // label of an AES key
}

// Key is an AES key in a token: a seal.Remote, by AES-GCM.
type Key struct {
	aead  cipher.AEAD
	close func() error // once: the library ends the process at the second time
}

// Open logs in to the token, and finds the key.
func Open(c Config) (*Key, error) {
	token, err := crypto11.Configure(&crypto11.Config{Path: c.Module, TokenLabel: c.TokenLabel, Pin: c.PIN.Reveal()})
	if err != nil {
		return nil, fmt.Errorf("pkcs11: token %q of %s: %w", c.TokenLabel, c.Module, err)
	}
	aead, err := find(token, c.Key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pkcs11: key %q of token %q: %w", c.Key, c.TokenLabel, err), token.Close())
	}
	return &Key{aead, sync.OnceValue(token.Close)}, nil
}

// find wants one key of that label, and one that stays in the token: two would make chance of which encrypts.
func find(token *crypto11.Context, label string) (cipher.AEAD, error) {
	if label == "" {
		return nil, errors.New("it has no label")
	}
	found, err := token.FindKeys(nil, []byte(label))
	switch {
	case err != nil:
		return nil, err
	case len(found) != 1:
		return nil, fmt.Errorf("%d secret keys have that label: want one", len(found))
	case found[0].Cipher != crypto11.CipherAES:
		return nil, errors.New("it is no AES key")
	}
	for attribute, want := range map[crypto11.AttributeType]byte{crypto11.CkaExtractable: 0, crypto11.CkaSensitive: 1} {
		got, err := token.GetAttribute(found[0], attribute)
		if err != nil {
			return nil, err
		}
		if got == nil || len(got.Value) != 1 || got.Value[0] != want {
			return nil, errors.New("it can be read out of the token: make one that is sensitive and not extractable")
		}
	}
	return found[0].NewGCM()
}

// Close logs out.
func (k *Key) Close() error { return k.close() }

// EncryptWithContext implements seal.Remote. A fresh nonce begins what it returns.
func (k *Key) EncryptWithContext(_ context.Context, plaintext, associated []byte) (sealed []byte, err error) {
	defer func() {
		if why := recover(); why != nil { // crypto11 has no other way of saying it
			sealed, err = nil, fmt.Errorf("pkcs11: encrypt: %v", why)
		}
	}()
	nonce := make([]byte, k.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails since Go 1.24
	return k.aead.Seal(nonce, nonce, plaintext, associated), nil
}

// DecryptWithContext implements seal.Remote.
func (k *Key) DecryptWithContext(_ context.Context, ciphertext, associated []byte) ([]byte, error) {
	n := k.aead.NonceSize()
	if len(ciphertext) < n {
		return nil, errors.New("pkcs11: decrypt: cut short")
	}
	plain, err := k.aead.Open(nil, ciphertext[:n], ciphertext[n:], associated)
	if err != nil {
		return nil, fmt.Errorf("pkcs11: decrypt: %w", err)
	}
	return plain, nil
}
