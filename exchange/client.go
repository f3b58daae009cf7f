package exchange

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
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
// wrong secret, another key or certificate, disabled. Our own log has the cause.
const unknownCaller = "the client is not known or its credential is wrong"

// authenticate finds out who calls, and whether it asks too often. A client is one agent of one org; nothing but its
// credential says which (TX16, TX24).
func (s *Service) authenticate(ctx context.Context, cred Credential) (caller, error) {
	now := s.cfg.Now()
	c, err := s.identify(ctx, cred, now)
	if err != nil {
		return caller{}, err
	}
	if c.org.FAPI() && !fapiMethod(c.method) { // FA1. Only who has proven to be the client hears it.
		return caller{}, refuse(InvalidClient, "", nil,
			"the org is held to the FAPI profile: authenticate with private_key_jwt or a certificate, which nobody can use a second time")
	}
	if err := s.throttle.ask(*s.rates.Load(), c.org, c.client, now); err != nil {
		return caller{}, err
	}
	return c, nil
}

// identify takes one mechanism at a time (TE11). A certificate that comes with a secret or an assertion is no second one: it
// may bind the token, and proves nothing else.
func (s *Service) identify(ctx context.Context, cred Credential, now time.Time) (caller, error) {
	switch {
	case cred.Secret != "" && cred.Assertion != "": // invalid_client because one is an assertion (RFC 7521 §4.2.1)
		return caller{}, refuse(InvalidClient, "", nil, "one way of client authentication at a time")
	case cred.Assertion != "":
		return s.byAssertion(ctx, cred, now)
	case cred.Secret != "":
		return s.bySecret(ctx, cred, now)
	case len(cred.Certificates) > 0:
		return s.byCertificate(ctx, cred, now)
	}
	return caller{}, refuse(InvalidClient, "", nil, "client authentication is missing")
}

// bySecret compares hashes, all of them, whether or not the client exists, so that neither the time nor the text tells.
func (s *Service) bySecret(ctx context.Context, cred Credential, now time.Time) (caller, error) {
	g, named := newGuesser(cred)
	if named {
		if err := s.throttle.mayGuess(g, now); err != nil {
			return caller{}, err
		}
	}
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
		if named {
			s.throttle.guessed(g, now)
		}
		if err == nil {
			err = flawSecret
		}
		return caller{}, refuse(InvalidClient, "", err, unknownCaller)
	}
	c.method = methodSecret
	return c, nil
}

// byAssertion tells the kinds of client assertions apart: by the type that came with it, or by the assertion itself where a
// door has none. What tells them apart is believed by nobody: each kind is then held to its own rules.
func (s *Service) byAssertion(ctx context.Context, cred Credential, now time.Time) (caller, error) {
	switch cred.AssertionType {
	case ClientAssertionSPIFFE:
		return s.bySVID(ctx, cred, now)
	case ClientAssertionType, "":
	default:
		return caller{}, refuse(InvalidClient, "", nil,
			"client_assertion_type must be %s or %s", ClientAssertionType, ClientAssertionSPIFFE)
	}
	a, err := openAssertion(cred.Assertion, "", "jwt", typeClientAuthentication) // CA5
	if cred.AssertionType == "" && (err != nil || isSPIFFEID(a.claims.Subject)) && isSPIFFEID(subjectOf(cred.Assertion)) {
		return s.bySVID(ctx, cred, now)
	}
	switch {
	case err != nil:
		return caller{}, notClient("client assertion", err)
	case a.claims.Issuer != a.claims.Subject && cred.ClientID != "" && a.message.Type() != typeClientAuthentication:
		return s.byWorkload(ctx, cred, a, now)
	}
	return s.byPrivateKey(ctx, cred, a, now)
}

// typeClientAuthentication is the typ of an assertion that is for client authentication alone (CA5).
const typeClientAuthentication = "client-authentication+jwt"

// byPrivateKey is private_key_jwt (RFC 7523 §2.2, CA3 to CA6).
func (s *Service) byPrivateKey(ctx context.Context, cred Credential, a assertion, now time.Time) (caller, error) {
	id := a.claims.Subject
	if a.claims.Issuer != id || cred.ClientID != "" && cred.ClientID != id { // CA3, CA6
		return caller{}, refuse(InvalidClient, "", nil, "client assertion: iss, sub and client_id must be the same; "+
			"with a token of a workload issuer, client_id names the agent")
	}
	c, err := s.find(ctx, id)
	if err != nil {
		return caller{}, err
	}
	legacy := ""
	if c.client.Registration.TokenEndpointAudience { // CA4
		legacy = s.cfg.Issuer + tokenEndpoint
	}
	if err := s.proveTo(ctx, a, c.client, now, legacy); err != nil {
		return caller{}, notClient("client assertion", err)
	}
	c.method = methodAssertion
	return c, nil
}

// tokenEndpoint is where the HTTP door has it, after the issuer.
const tokenEndpoint = "/token"

// notClient is a credential's flaw as a refusal. What depends on what is registered is told only to who has proven that the
// credential is its own.
func notClient(what string, err error) error {
	f, ok := errors.AsType[flaw](err)
	switch {
	case !ok:
		return err
	case f.tells():
		return refuse(InvalidClient, "", err, unknownCaller)
	}
	return refuse(InvalidClient, "", err, "%s: %v", what, f)
}

// find looks a client up. Whoever does not exist costs a look into a map.
func (s *Service) find(ctx context.Context, clientID string) (caller, error) {
	if isSPIFFEID(clientID) { // trust domains are an org's own: two orgs may call one by the same name
		return caller{}, refuse(InvalidClient, "", nil,
			"client_id must be the agent's, as in acme.researcher: a SPIFFE ID names no org")
	}
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
	if !ok || client.Off(s.cfg.Now()) != "" {
		return caller{}, refuse(InvalidClient, "", nil, unknownCaller)
	}
	return caller{org: org, client: client}, nil
}

// named is find for the credentials that do not name the client themselves (CA6, CA7).
func (s *Service) named(ctx context.Context, clientID, what string) (caller, error) {
	if clientID == "" {
		return caller{}, refuse(InvalidClient, "", nil,
			"client_id is missing: %s does not say which agent of which org it is for", what)
	}
	return s.find(ctx, clientID)
}

// isSPIFFEID reports whether a name has the scheme of SPIFFE IDs. It may be no valid one.
func isSPIFFEID(s string) bool { return strings.HasPrefix(s, "spiffe://") }

// fapiMethod reports whether the FAPI profile allows a way of client authentication (FA1): not one that whoever is shown it once
// can use again.
func fapiMethod(method string) bool {
	switch method {
	case methodAssertion, methodCertificate, methodSelfSigned, methodSPIFFEX509:
		return true
	}
	return false
}

// fapiAlgorithm reports whether the FAPI profile allows an algorithm (FA6).
func fapiAlgorithm(alg jose.Algorithm) bool {
	switch alg {
	case jose.PS256, jose.ES256, jose.EdDSA, jose.Ed25519:
		return true
	}
	return false
}
