//go:build awskms

package awskms

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/onbehalf/obo/jose"
)

// The bounds of a call. Whoever waits for a token waits for the service.
const (
	callTimeout = 5 * time.Second
	attempts    = 3 // of the SDK, with backoff, for what is throttled or away
)

// Config says where the service is. Who we are is the SDK's to find: a role of the workload, the environment, a profile.
type Config struct {
	Region   string // such as eu-central-1
	Endpoint string // of a VPC endpoint; empty: the region's
}

// Source is the service. It is safe for many goroutines.
type Source struct{ client *kms.Client }

// Open finds credentials. It calls nothing.
func Open(ctx context.Context, c Config) (*Source, error) {
	found, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.Region), config.WithRetryMaxAttempts(attempts))
	if err != nil {
		return nil, fmt.Errorf("awskms: %w", err)
	}
	return &Source{kms.NewFromConfig(found, func(o *kms.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})}, nil
}

// specs are the keys that are made for an algorithm.
var specs = map[jose.Algorithm]types.KeySpec{
	jose.ES256: types.KeySpecEccNistP256,
	jose.PS256: types.KeySpecRsa3072,
	jose.RS256: types.KeySpecRsa3072,
}

// Generate implements keys.Source: a key whose private part cannot be read out. It is called by its ARN. A key costs money by the month,
// so it is asked for once and not again when no answer came, and one that cannot be used is given back.
func (s *Source) Generate(ctx context.Context, alg jose.Algorithm) (string, error) {
	spec, ok := specs[alg]
	if !ok {
		return "", fmt.Errorf("awskms: makes keys for ES256, PS256 and RS256 only, not %s", alg)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	made, err := s.client.CreateKey(ctx, &kms.CreateKeyInput{
		KeySpec: spec, KeyUsage: types.KeyUsageTypeSignVerify, Description: aws.String("obo signing key for " + string(alg)),
	}, func(o *kms.Options) { o.RetryMaxAttempts = 1 })
	if err != nil {
		return "", fmt.Errorf("awskms: create a key: %w", err)
	}
	arn := aws.ToString(made.KeyMetadata.Arn)
	if err := s.await(ctx, arn); err != nil {
		return "", errors.Join(fmt.Errorf("awskms: the new key %s cannot be used: %w", arn, err), s.giveBack(ctx, arn))
	}
	return arn, nil
}

// await waits until the service knows its new key: its parts hear of one another by and by.
func (s *Source) await(ctx context.Context, arn string) error {
	for {
		_, err := s.client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: aws.String(arn)})
		if _, unknown := errors.AsType[*types.NotFoundException](err); !unknown {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// giveBack has a key deleted that nobody will use, in the shortest time that the service allows.
func (s *Source) giveBack(ctx context.Context, arn string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	_, err := s.client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: aws.String(arn), PendingWindowInDays: aws.Int32(7)})
	if err != nil {
		return fmt.Errorf("and it was not deleted, so delete it: %w", err)
	}
	return nil
}

// Signer implements keys.Source. reference is the ARN or id of a key; an alias is refused, because it can be moved to another key.
func (s *Source) Signer(ctx context.Context, reference string) (crypto.Signer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := s.client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: aws.String(reference)})
	if err != nil {
		return nil, fmt.Errorf("awskms: public key of %s: %w", reference, err)
	}
	if id := aws.ToString(got.KeyId); id != reference && !isIDOf(reference, id) {
		return nil, fmt.Errorf("awskms: %q is not the ARN or id of a key: an alias can be moved to another", reference)
	}
	if got.KeyUsage != types.KeyUsageTypeSignVerify {
		return nil, fmt.Errorf("awskms: %s is not for signing", reference)
	}
	public, err := x509.ParsePKIXPublicKey(got.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("awskms: public key of %s: %w", reference, err)
	}
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return &signer{s.client, reference, public}, nil
		}
	case *rsa.PublicKey:
		return &signer{s.client, reference, public}, nil
	}
	return nil, fmt.Errorf("awskms: %s is neither of P-256 nor RSA", reference)
}

// isIDOf reports whether an id is the last part of an ARN.
func isIDOf(id, arn string) bool {
	at := len(arn) - len(id)
	return at > 0 && arn[at:] == id && arn[at-1] == '/'
}

// signer signs with one key.
type signer struct {
	client    *kms.Client
	reference string
	public    crypto.PublicKey
}

// Public implements crypto.Signer.
func (s *signer) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer: of a SHA-256 digest, in DER for ECDSA. It has no context to end by, so its time is bounded here.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	alg, err := s.algorithm(digest, opts)
	if err != nil {
		return nil, fmt.Errorf("awskms: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	got, err := s.client.Sign(ctx, &kms.SignInput{
		KeyId: aws.String(s.reference), Message: digest, MessageType: types.MessageTypeDigest, SigningAlgorithm: alg,
	})
	if err != nil {
		return nil, fmt.Errorf("awskms: sign with %s: %w", s.reference, err)
	}
	// The ring signs with the very key that it publishes: an answer of another key, or a damaged one, must not become a token.
	if !s.verifies(digest, opts, got.Signature) {
		return nil, fmt.Errorf("awskms: sign with %s: what came back does not verify", s.reference)
	}
	return got.Signature, nil
}

func (s *signer) algorithm(digest []byte, opts crypto.SignerOpts) (types.SigningAlgorithmSpec, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return "", errors.New("signs SHA-256 digests only")
	}
	pss, isPSS := opts.(*rsa.PSSOptions)
	_, isRSA := s.public.(*rsa.PublicKey)
	switch {
	case !isRSA:
		return types.SigningAlgorithmSpecEcdsaSha256, nil
	case !isPSS:
		return types.SigningAlgorithmSpecRsassaPkcs1V15Sha256, nil
	case slices.Contains([]int{rsa.PSSSaltLengthEqualsHash, rsa.PSSSaltLengthAuto, crypto.SHA256.Size()}, pss.SaltLength):
		return types.SigningAlgorithmSpecRsassaPssSha256, nil // the service's salt is as long as the hash (RFC 7518 §3.5)
	}
	return "", errors.New("signs with a salt as long as the hash only")
}

func (s *signer) verifies(digest []byte, opts crypto.SignerOpts, signature []byte) bool {
	switch k := s.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, signature)
	case *rsa.PublicKey:
		if _, isPSS := opts.(*rsa.PSSOptions); isPSS {
			return rsa.VerifyPSS(k, crypto.SHA256, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest, signature) == nil
	}
	return false
}
