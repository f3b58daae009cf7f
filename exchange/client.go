package exchange

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
)

// maxSecret is longer than any secret that we make.
const maxSecret = 1024

// caller is an authenticated client with the snapshot of its org that the whole exchange is decided by.
type caller struct {
	org    *registry.Org
	client *registry.Client
	method string // of the ways below
}

// The ways of client authentication.
const (
	methodSecret      = "client_secret"
	methodAssertion   = "private_key_jwt"
	methodCertificate = "tls_client_auth"
	methodSelfSigned  = "self_signed_tls_client_auth"
	methodSPIFFE      = "spiffe_jwt"
	methodSPIFFEX509  = "spiffe_x509"
	methodWorkload    = "workload"
)

// unknownCaller is what every failure looks like from outside that a stranger could learn from: no such org, no such agent,
// wrong secret, disabled.
const unknownCaller = "the client is not known or its credential is wrong"

// authenticate finds out who calls. A client is one agent of one org; nothing but its credential says which (TX16, TX24).
func (s *Service) authenticate(ctx context.Context, cred Credential) (caller, error) {
	switch {
	case cred.Secret != "" && cred.Assertion != "": // TE11; invalid_client because one is an assertion (RFC 7521 §4.2.1)
		return caller{}, refuse(InvalidClient, "", nil, "one way of client authentication at a time")
	case cred.Assertion != "":
		return s.byAssertion(ctx, cred)
	case cred.Secret != "":
		return s.bySecret(ctx, cred)
	}
	return caller{}, refuse(InvalidClient, "", nil, "client authentication is missing")
}

// bySecret compares hashes, all of them, whether or not the client exists, so that neither the time nor the text tells.
func (s *Service) bySecret(ctx context.Context, cred Credential) (caller, error) {
	c, err := s.find(ctx, cred.ClientID)
	if err != nil && ReasonOf(err) != InvalidClient {
		return caller{}, err
	}
	secret := cred.Secret.Reveal()
	sum := sha256.Sum256([]byte(secret[:min(len(secret), maxSecret)]))
	var live [registry.MaxSecrets][32]byte
	n := 0
	if c.client != nil {
		n = copy(live[:], c.client.Secrets)
	}
	match := 0
	for i := range live {
		match |= subtle.ConstantTimeCompare(sum[:], live[i][:]) & subtle.ConstantTimeLessOrEq(i+1, n)
	}
	if match != 1 || err != nil || len(secret) > maxSecret {
		return caller{}, refuse(InvalidClient, "", err, unknownCaller)
	}
	return c, nil
}

// byAssertion is private_key_jwt (RFC 7523 §2.2, CA3 to CA6).
func (s *Service) byAssertion(ctx context.Context, cred Credential) (caller, error) {
	a, err := openAssertion(cred.Assertion, "", "jwt", "client-authentication+jwt") // CA5
	if err != nil {
		return caller{}, refuse(InvalidClient, "", err, "client assertion: %v", err)
	}
	id := a.claims.Subject
	if a.claims.Issuer != id || cred.ClientID != "" && cred.ClientID != id { // CA3, CA6
		return caller{}, refuse(InvalidClient, "", nil, "client assertion: iss, sub and client_id must be the same")
	}
	c, err := s.find(ctx, id)
	if err != nil {
		return caller{}, err
	}
	if err := s.prove(ctx, a, c.client, s.cfg.Now()); err != nil {
		if f, ok := errors.AsType[flaw](err); ok {
			return caller{}, refuse(InvalidClient, "", err, "client assertion: %v", f)
		}
		return caller{}, err
	}
	return c, nil
}

// find looks a client up. Whoever does not exist costs a look into a map.
func (s *Service) find(ctx context.Context, clientID string) (caller, error) {
	id, name, err := delegation.ParseClientID(clientID)
	if err != nil {
		return caller{}, refuse(InvalidClient, "", err, unknownCaller)
	}
	org, err := s.cfg.Orgs.Org(ctx, id)
	switch {
	case errors.Is(err, registry.ErrUnknownOrg):
		return caller{}, refuse(InvalidClient, "", err, unknownCaller)
	case err != nil && ctx.Err() != nil:
		return caller{}, ctx.Err()
	case err != nil:
		return caller{}, unavailable(err, "the org's configuration is not at hand")
	}
	client, ok := org.Client(name)
	if !ok || client.Disabled {
		return caller{}, refuse(InvalidClient, "", nil, unknownCaller)
	}
	return caller{org: org, client: client}, nil
}
