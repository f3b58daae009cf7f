//go:build awskms

package awskms

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// The bounds of a call. A server that starts waits for the service.
const (
	callTimeout = 10 * time.Second
	attempts    = 3 // of the SDK, with backoff, for what is throttled or away
)

// Config says which key. Who we are is the SDK's to find: a role of the workload, the environment, a profile.
type Config struct {
	Region   string // such as eu-central-1
	Endpoint string // of a VPC endpoint; empty: the region's
	Key      string // ARN or id of a symmetric key
}

// Key is a key in the service: a seal.Remote.
type Key struct {
	client *kms.Client
	id     string
}

// Open finds credentials. It calls nothing.
func Open(ctx context.Context, c Config) (*Key, error) {
	found, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.Region), config.WithRetryMaxAttempts(attempts))
	if err != nil {
		return nil, fmt.Errorf("awskms: %w", err)
	}
	return &Key{kms.NewFromConfig(found, func(o *kms.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	}), c.Key}, nil
}

// Close has nothing to let go of.
func (k *Key) Close() error { return nil }

// purpose is the encryption context that associated data becomes. The service's log shows it, and a key's policy can demand it.
func purpose(associated []byte) map[string]string {
	return map[string]string{"for": string(associated)}
}

// EncryptWithContext implements seal.Remote. The service takes 4 KiB: some thirty keys.
func (k *Key) EncryptWithContext(ctx context.Context, plaintext, associated []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := k.client.Encrypt(ctx, &kms.EncryptInput{
		KeyId: aws.String(k.id), Plaintext: plaintext, EncryptionContext: purpose(associated),
	})
	if err != nil {
		return nil, fmt.Errorf("awskms: encrypt with %s: %w", k.id, err)
	}
	return got.CiphertextBlob, nil
}

// DecryptWithContext implements seal.Remote. The key is named, so that nothing opens that another key of the account has encrypted.
func (k *Key) DecryptWithContext(ctx context.Context, ciphertext, associated []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := k.client.Decrypt(ctx, &kms.DecryptInput{
		KeyId: aws.String(k.id), CiphertextBlob: ciphertext, EncryptionContext: purpose(associated),
	})
	if err != nil {
		return nil, fmt.Errorf("awskms: decrypt with %s: %w", k.id, err)
	}
	return got.Plaintext, nil
}
