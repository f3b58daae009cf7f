package delegation

import (
	"errors"
	"fmt"
)

// Why a token is refused. Compare with errors.Is; the text beside them says more, and never repeats the token.
var (
	// ErrMalformed: not a compact JWS of ours, not JSON with one meaning, or an identifier of the wrong form.
	ErrMalformed = errors.New("delegation: malformed")
	// ErrType: the header's typ is not at+jwt (RFC 9068 §4).
	ErrType = errors.New("delegation: not an access token")
	// ErrAlgorithm: the header's alg is unknown, or not the key's own.
	ErrAlgorithm = errors.New("delegation: algorithm refused")
	// ErrUnknownKey: the issuer publishes no key of that id and algorithm.
	ErrUnknownKey = errors.New("delegation: unknown key")
	// ErrSignature: the signature does not verify.
	ErrSignature = errors.New("delegation: bad signature")
	// ErrIssuer: the token is of another issuer.
	ErrIssuer = errors.New("delegation: another issuer")
	// ErrAudience: the token is for another service.
	ErrAudience = errors.New("delegation: another audience")
	// ErrExpired: the token's time is over.
	ErrExpired = errors.New("delegation: expired")
	// ErrNotYetValid: the token's time has not come.
	ErrNotYetValid = errors.New("delegation: not yet valid")
	// ErrClaims: a claim is missing, of the wrong kind, or disagrees with another.
	ErrClaims = errors.New("delegation: bad claims")
	// ErrChain: the delegation chain is not one that our STS makes.
	ErrChain = errors.New("delegation: bad delegation chain")
	// ErrBound: the token is bound to a key that its caller has not proven, or the caller has proven a key to which the
	// token is not bound.
	ErrBound = errors.New("delegation: token is bound to a key that was not proven, or to none")
	// ErrRevoked: the token, or something that it hangs on, was revoked.
	ErrRevoked = errors.New("delegation: revoked")
	// ErrUnavailable: it cannot be known whether the token is good. Refuse, and let the caller try again.
	ErrUnavailable = errors.New("delegation: cannot be verified now")
)

// The rules of the narrowing law (LawError.Rule). Their text is stable: a caller may map it. A claim that is out of form
// has its own name as the rule, such as "groups".
const (
	RuleAct         = "act"                   // a new current actor on an untouched chain
	RuleAudience    = "audience"              // exactly one resource
	RuleBinding     = "cnf"                   // a bound token stays bound
	RuleClient      = "client_id"             // the client is one of the org's
	RuleDepth       = "depth"                 // at most the org's depth
	RuleDetails     = "authorization_details" // each within one of the parent's
	RuleExpiry      = "exp"                   // not longer than the parent, and not in the past
	RuleID          = "jti"                   // a fresh id
	RuleIssuer      = "iss"                   // one issuer signs a whole tree
	RuleLineage     = "lineage"               // at most 64 tokens in a row
	RuleOrg         = "org"                   // the org of everybody in the token
	RuleScope       = "scope"                 // not wider than the parent
	RuleSize        = "size"                  // at most MaxTokenSize
	RuleSubject     = "sub"                   // a user or a service account, and what is said of it
	RuleTransaction = "txn"                   // one transaction in a tree
	RuleUnverified  = "unverified"            // only what was verified can be delegated
)

// LawError says which rule of the narrowing law a Grant breaks. Find it with errors.As.
type LawError struct {
	Rule   string // one of the Rule constants, or the name of a claim
	Detail string // for people; holds no token
}

// Error implements error.
func (e *LawError) Error() string { return "delegation: " + e.Rule + ": " + e.Detail }

func unlawful(rule, format string, args ...any) error {
	return &LawError{Rule: rule, Detail: fmt.Sprintf(format, args...)}
}

// Describe says in a few words of ours why a token was refused: safe to send to whoever presented it. It is empty for
// nil, and "not valid" for an error that is none of the sentinels.
func Describe(err error) string {
	if err == nil {
		return ""
	}
	for _, known := range []struct {
		sentinel error
		text     string
	}{
		{ErrMalformed, "malformed"},
		{ErrType, "not an access token"},
		{ErrAlgorithm, "algorithm refused"},
		{ErrUnknownKey, "unknown key"},
		{ErrSignature, "bad signature"},
		{ErrIssuer, "of another issuer"},
		{ErrAudience, "for another audience"},
		{ErrExpired, "expired"},
		{ErrNotYetValid, "not yet valid"},
		{ErrClaims, "bad claims"},
		{ErrChain, "bad delegation chain"},
		{ErrBound, "bound to a key that was not proven, or to none"},
		{ErrRevoked, "revoked"},
		{ErrUnavailable, "cannot be verified now"},
	} {
		if errors.Is(err, known.sentinel) {
			return known.text
		}
	}
	return "not valid"
}
