package exchange

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// The bounds of an assertion.
const (
	maxAssertionLife = 5 * time.Minute
	skew             = 10 * time.Second // how far other clocks may be ahead of ours (JW11)
	maxAssertionID   = 256              // bytes of a jti
)

// flaw is what is wrong with an assertion or a token, in words that may be shown to the caller.
type flaw string

func (f flaw) Error() string { return string(f) }

// The flaws of who has proven nothing, and would learn from them who is registered and with what.
const (
	flawSecret    flaw = "the secret is not one of its live ones"
	flawKey       flaw = "it is not signed with a registered key"
	flawSignature flaw = "its signature does not verify"
	flawIssuer    flaw = "its issuer is not one that the org registered for workloads"
	flawAlgorithm flaw = "its issuer is not registered for that alg"
	flawDomain    flaw = "its trust domain is not one that the org registered"
	flawSVID      flaw = "it does not verify with the bundle of its trust domain"
	flawOther     flaw = "it is not of this agent"
	flawFAPI      flaw = "the org is held to the FAPI profile: sign with PS256, ES256 or EdDSA" // told: it comes after the proof
)

// tells reports whether a stranger could learn from the flaw.
func (f flaw) tells() bool {
	switch f {
	case flawSecret, flawKey, flawSignature, flawIssuer, flawAlgorithm, flawDomain, flawSVID, flawOther:
		return true
	}
	return false
}

// assertion is an agent's signed statement about itself or an agent it controls (RFC 7523 §3). Until prove says so, nothing
// in it is true.
type assertion struct {
	message jose.Message
	claims  assertionClaims
}

type assertionClaims struct {
	Issuer    string          `json:"iss"` // client_id of the signer
	Subject   string          `json:"sub"` // client_id of the agent that it is about
	Audience  json.RawMessage `json:"aud"` // a string: our issuer
	ID        string          `json:"jti"`
	Expiry    *numericDate    `json:"exp"`
	NotBefore *numericDate    `json:"nbf"`
	IssuedAt  *numericDate    `json:"iat"`
}

// openAssertion reads an assertion whose header has one of the types. A type of another kind of token is refused where
// legacy senders may leave it out (JW5).
func openAssertion(token string, types ...string) (assertion, error) {
	m, err := jose.Parse(token)
	if err != nil {
		return assertion{}, flaw("it is not a signed JWT")
	}
	if !slices.Contains(types, m.Type()) {
		return assertion{}, flaw("its typ is that of another kind of token")
	}
	a := assertion{message: m}
	if err := jose.DecodeClaims(m.UnverifiedPayload(), &a.claims); err != nil {
		return assertion{}, flaw("its claims are malformed")
	}
	return a, nil
}

// prove verifies that the signer made the assertion, for us, for now, and consumes it. It is consumed last: a forger who has
// no key can use up nobody's assertion (CA3). The error is a flaw, an *Error of a dependency, or the context's.
func (s *Service) prove(ctx context.Context, a assertion, signer *registry.Client, now time.Time) error {
	return s.proveTo(ctx, a, signer, now, "")
}

// proveTo is prove that takes another audience too, unless it is empty.
func (s *Service) proveTo(ctx context.Context, a assertion, signer *registry.Client, now time.Time, other string) error {
	key, ok := signer.Keys.Find(a.message.KeyID(), a.message.Algorithm()) // JW3: only keys of this very agent
	if !ok {
		return flawKey
	}
	if _, err := a.message.Verify(key); err != nil {
		return flawSignature
	}
	if signer.FAPI && !fapiAlgorithm(a.message.Algorithm()) {
		return flawFAPI
	}
	c := a.claims
	var audience string
	if err := jose.Decode(c.Audience, &audience); err != nil || audience != s.cfg.Issuer && (other == "" || audience != other) {
		return flaw("its aud must be exactly the issuer, as one string") // CA4
	}
	if err := c.checkTimes(now); err != nil {
		return err
	}
	if c.ID == "" || len(c.ID) > maxAssertionID {
		return flaw("it needs a jti of at most 256 bytes")
	}
	// One namespace for both uses: a client assertion that was overheard is no actor_token either.
	err := s.cfg.Assertions(signer.Org).Consume(ctx, assertionKey(signer.ClientID, c.ID), c.Expiry.time().Add(time.Minute))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrConflict):
		return flaw("it was used before")
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return unavailable(err, "single use cannot be checked now")
	}
}

func (c assertionClaims) checkTimes(now time.Time) error {
	switch {
	case c.Expiry == nil:
		return flaw("it has no exp")
	case !now.Before(c.Expiry.time()):
		return flaw("it has expired")
	case c.Expiry.time().After(now.Add(maxAssertionLife + skew)):
		return flaw("its exp is more than 5 minutes ahead")
	case c.NotBefore.time().After(now.Add(skew)), c.IssuedAt.time().After(now.Add(skew)):
		return flaw("it is from the future")
	}
	return nil
}

// assertionKey names an assertion. The length keeps two pairs from running into each other.
func assertionKey(clientID, id string) [32]byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(clientID)))
	b = append(b, clientID...)
	return sha256.Sum256(append(b, id...))
}

// inOrg finds an agent of the org by its client id.
func inOrg(org *registry.Org, clientID string) (*registry.Client, error) {
	id, name, err := delegation.ParseClientID(clientID)
	if err != nil {
		return nil, flaw("it names no client")
	}
	if id != org.ID() {
		return nil, denied("the actor_token is of another org") // TX24
	}
	c, ok := org.Client(name)
	if !ok {
		return nil, flaw("it names an agent that is not registered")
	}
	return c, nil
}

// numericDate is seconds since 1970, perhaps with a fraction, which is dropped (RFC 7519 §2, JW10). A nil one is the zero
// time.
type numericDate float64

// maxDate is the last second of the year 9999.
const maxDate = 253402300799

func (d *numericDate) time() time.Time {
	if d == nil {
		return time.Time{}
	}
	f := float64(*d)
	if math.IsNaN(f) || f < 0 {
		f = 0
	}
	return time.Unix(int64(min(f, maxDate)), 0).UTC()
}
