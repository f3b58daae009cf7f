package delegation

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/onbehalf/obo/jose"
)

// Verified is a token that a Verifier accepted. The zero Verified stands for no token: its methods answer with nothing,
// and it cannot be delegated. Its methods may be called by many goroutines.
type Verified struct{ claims *Claims }

// Claims returns a copy of all claims. The methods below cost less.
func (v Verified) Claims() Claims {
	if v.claims == nil {
		return Claims{}
	}
	return v.claims.clone()
}

// read is the claims to look at, never nil.
func (v Verified) read() *Claims {
	if v.claims == nil {
		return &Claims{}
	}
	return v.claims
}

// OrgID is the tenant.
func (v Verified) OrgID() OrgID { return v.read().OrgID }

// Subject is on whose behalf is acted: a user (UserID), or a service account (ServiceID) when there is none.
func (v Verified) Subject() string { return v.read().Subject }

// Actor is the agent that acts now, an AgentID.
func (v Verified) Actor() string {
	if a := v.read().Actor; a != nil {
		return a.Subject
	}
	return ""
}

// ClientID is the client that asked for the token.
func (v Verified) ClientID() string { return v.read().ClientID }

// Audience is the resource that the token is for.
func (v Verified) Audience() string { return v.read().Audience }

// Scope is what may be done.
func (v Verified) Scope() Scopes { return v.read().Scope }

// ID is the token's jti.
func (v Verified) ID() string { return v.read().ID }

// Transaction is the id that all tokens of the tree share.
func (v Verified) Transaction() string { return v.read().Transaction }

// Expiry is the first moment at which the token is dead.
func (v Verified) Expiry() time.Time { return v.read().Expiry }

// Chain lists the actors, the current one first. Those behind it are evidence, not authority (ACT4).
func (v Verified) Chain() []string { return v.read().Chain() }

// Depth is the number of actors.
func (v Verified) Depth() int { return v.read().Depth() }

// Confirmation is a copy of the key that the token is bound to, or nil when it is a bearer's.
func (v Verified) Confirmation() *Confirmation {
	k := v.read().Confirmation
	if k == nil {
		return nil
	}
	own := *k
	return &own
}

// Revocations knows what was revoked. Both methods are called at every use of a token, so they must be fast and must not block.
// They return nil, an error that wraps ErrRevoked, or one that wraps ErrUnavailable when their knowledge is too old.
type Revocations interface {
	// Check judges by what the token says of itself. It must not change the claims.
	Check(c *Claims, now time.Time) error
	// CheckKey judges by the id of the key that signed the token: one that was stolen says whatever the thief wants.
	CheckKey(kid string, now time.Time) error
}

// NoRevocations is for a service that accepts that a revoked token works until it expires.
var NoRevocations Revocations = noRevocations{}

type noRevocations struct{}

func (noRevocations) Check(*Claims, time.Time) error { return nil }

func (noRevocations) CheckKey(string, time.Time) error { return nil }

// The defaults and bounds of a VerifierConfig.
const (
	defaultLeeway   = 5 * time.Second
	maxLeeway       = 60 * time.Second
	minFutureLeeway = 10 * time.Second // for iat and nbf (JW11)
	defaultRemember = 10_000
)

// VerifierConfig is what a Verifier must know.
type VerifierConfig struct {
	Issuer      string           // the STS, exactly as in "iss"
	Audience    string           // this service, exactly as in "aud"
	AnyAudience bool             // only for the STS, which exchanges tokens for any of its resources (C4)
	Keys        KeySource        // the issuer's keys
	Revocations Revocations      // required; NoRevocations is a choice to be made, not a default
	Now         func() time.Time // time.Now when nil
	Leeway      time.Duration    // for clocks that differ: 5 s when zero, at most 60 s, none when negative
	Remember    int              // how many verified tokens to remember: 10,000 when zero, none when negative
	MaxDepth    int              // actors in a chain: 10 when zero, at most 10
	AcceptBound bool             // Verify takes tokens with "cnf" too; then the caller checks the proof of possession itself
}

// Verifier verifies delegation tokens. It may be used by many goroutines.
type Verifier struct {
	config VerifierConfig
	seen   *otter.Cache[[sha256.Size]byte, *remembered] // nil when nothing is to be remembered
}

// remembered is a token whose signature and claims were good. What can change since is asked anew at every use: the time,
// revocation, and whether the issuer still publishes the key.
type remembered struct {
	claims *Claims
	key    jose.Key
}

// NewVerifier checks the configuration.
func NewVerifier(config VerifierConfig) (*Verifier, error) {
	switch {
	case config.Issuer == "":
		return nil, errors.New("delegation: a verifier needs an Issuer")
	case config.AnyAudience == (config.Audience != ""):
		return nil, errors.New("delegation: a verifier needs either an Audience or AnyAudience")
	case config.Keys == nil:
		return nil, errors.New("delegation: a verifier needs Keys")
	case config.Revocations == nil:
		return nil, errors.New("delegation: a verifier needs Revocations, or NoRevocations")
	case config.Leeway > maxLeeway:
		return nil, fmt.Errorf("delegation: Leeway is at most %s", maxLeeway)
	case config.MaxDepth < 0 || config.MaxDepth > MaxDepth:
		return nil, fmt.Errorf("delegation: MaxDepth is 1 to %d", MaxDepth)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Leeway == 0 {
		config.Leeway = defaultLeeway
	}
	config.Leeway = max(config.Leeway, 0)
	if config.Remember == 0 {
		config.Remember = defaultRemember
	}
	if config.MaxDepth == 0 {
		config.MaxDepth = MaxDepth
	}
	v := &Verifier{config: config}
	if config.Remember > 0 {
		seen, err := otter.New(&otter.Options[[sha256.Size]byte, *remembered]{MaximumSize: config.Remember})
		if err != nil {
			return nil, fmt.Errorf("delegation: %w", err)
		}
		v.seen = seen
	}
	return v, nil
}

// Verify accepts a token that the issuer signed for this audience, that lives now, and that is not revoked (RFC 9068 §4).
// A token that is bound to a key is refused: its caller has proven nothing. Errors wrap one of the sentinels. A token that
// was verified before is remembered by the SHA-256 of its bytes.
func (v *Verifier) Verify(ctx context.Context, token string) (Verified, error) {
	return v.verify(ctx, token, Possession{}, v.config.AcceptBound)
}

// VerifyPossessed is Verify for a caller who has proven something beside the token. What the token is bound to must be
// among it, and a DPoP proof must be of the key that the token is bound to; else ErrBound.
func (v *Verifier) VerifyPossessed(ctx context.Context, token string, p Possession) (Verified, error) {
	return v.verify(ctx, token, p, false)
}

func (v *Verifier) verify(ctx context.Context, token string, p Possession, anyBinding bool) (Verified, error) {
	if len(token) > MaxTokenSize {
		return Verified{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxTokenSize)
	}
	sum := sha256.Sum256([]byte(token))
	known, found := v.recall(ctx, sum)
	if !found {
		var err error
		if known, err = v.open(ctx, token); err != nil {
			return Verified{}, err
		}
	}
	if !anyBinding && !known.claims.Confirmation.provenBy(p) {
		return Verified{}, ErrBound
	}
	now := v.config.Now()
	if err := v.checkTime(known.claims, now); err != nil {
		return Verified{}, err
	}
	if err := v.checkRevoked(known.claims, known.key, now); err != nil {
		return Verified{}, err
	}
	if !found && v.seen != nil {
		v.seen.Set(sum, known)
	}
	return Verified{claims: known.claims}, nil
}

// recall finds a token that was verified with a key that is still published. A key that was withdrawn thus takes its
// tokens with it at once.
func (v *Verifier) recall(ctx context.Context, sum [sha256.Size]byte) (*remembered, bool) {
	if v.seen == nil {
		return nil, false
	}
	known, ok := v.seen.GetIfPresent(sum)
	if !ok {
		return nil, false
	}
	key, err := v.config.Keys.Key(ctx, known.key.KeyID(), known.key.Algorithm())
	if err != nil || key.Thumbprint() != known.key.Thumbprint() {
		v.seen.Invalidate(sum)
		return nil, false
	}
	return known, true
}

// open does all that needs no clock.
func (v *Verifier) open(ctx context.Context, token string) (*remembered, error) {
	payload, key, err := v.authentic(ctx, token, TokenType)
	if err != nil {
		return nil, err
	}
	c, err := parseClaims(payload, v.config.MaxDepth)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Issuer != v.config.Issuer:
		return nil, ErrIssuer
	case !v.config.AnyAudience && c.Audience != v.config.Audience:
		return nil, ErrAudience
	}
	return &remembered{claims: c, key: key}, nil
}

// authentic is the payload of a token of that typ which the issuer signed, and the key that it signed with.
func (v *Verifier) authentic(ctx context.Context, token, typ string) ([]byte, jose.Key, error) {
	m, err := jose.Parse(token)
	switch {
	case err != nil:
		return nil, jose.Key{}, translate(err)
	case !m.Plain():
		return nil, jose.Key{}, fmt.Errorf("%w: a header member that we never write", ErrMalformed)
	case m.Type() != typ:
		return nil, jose.Key{}, fmt.Errorf("%w: typ is not %s", ErrType, typ)
	case m.KeyID() == "":
		return nil, jose.Key{}, fmt.Errorf("%w: no kid", ErrUnknownKey)
	}
	key, err := v.config.Keys.Key(ctx, m.KeyID(), m.Algorithm())
	if err != nil {
		return nil, jose.Key{}, err
	}
	payload, err := m.Verify(key)
	if err != nil {
		return nil, jose.Key{}, translate(err)
	}
	return payload, key, nil
}

func (v *Verifier) checkTime(c *Claims, now time.Time) error {
	if !now.Before(c.Expiry.Add(v.config.Leeway)) {
		return ErrExpired
	}
	latest := now.Add(max(v.config.Leeway, minFutureLeeway))
	if c.IssuedAt.After(latest) || c.NotBefore.After(latest) {
		return ErrNotYetValid
	}
	return nil
}

// checkRevoked asks for the key first: when that is in wrong hands, what the claims say decides nothing.
func (v *Verifier) checkRevoked(c *Claims, key jose.Key, now time.Time) error {
	if err := v.config.Revocations.CheckKey(key.KeyID(), now); err != nil {
		return err
	}
	return v.config.Revocations.Check(c, now)
}

// translate gives an error of jose one of our names.
func translate(err error) error {
	for _, pair := range []struct{ theirs, ours error }{
		{jose.ErrAlgorithm, ErrAlgorithm}, {jose.ErrSignature, ErrSignature}, {jose.ErrKey, ErrUnknownKey},
	} {
		if errors.Is(err, pair.theirs) {
			return fmt.Errorf("%w: %w", pair.ours, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
