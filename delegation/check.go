package delegation

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/onbehalf/obo/jose"
)

// The limits of single claims. All of them together are held by MaxTokenSize.
const (
	maxURI        = 512 // bytes of an issuer or audience
	maxID         = 64  // bytes of jti and txn
	maxLineage    = 64  // tokens in a row
	maxText       = 255 // bytes of acr and sid
	maxAMR        = 16
	maxAMRLength  = 64 // bytes
	maxGroups     = 64
	maxGroupBytes = 128
)

// claimError says which claim is bad. It is also the source of a LawError, because what may not be read may not be
// minted either.
type claimError struct {
	kind   error // ErrClaims or ErrChain
	claim  string
	detail string
}

func (e *claimError) Error() string { return e.kind.Error() + ": " + e.claim + ": " + e.detail }
func (e *claimError) Unwrap() error { return e.kind }

func badClaim(claim, format string, args ...any) *claimError {
	return &claimError{kind: ErrClaims, claim: claim, detail: fmt.Sprintf(format, args...)}
}

func badChain(claim, format string, args ...any) *claimError {
	return &claimError{kind: ErrChain, claim: claim, detail: fmt.Sprintf(format, args...)}
}

// check judges the claims by themselves: all that are required are there (AT2), each has its form, and everybody named
// belongs to the org (TX24). A nil result means that our STS could have made them.
func (c *Claims) check(maxDepth int) error {
	for _, err := range []*claimError{
		c.checkNames(), c.checkTimes(), c.checkOrg(), c.checkChain(maxDepth), c.checkMayAct(), c.checkSignIn(),
		c.checkBinding(), c.checkDetails(),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Claims) checkNames() *claimError {
	switch {
	case !isURI(c.Issuer):
		return badClaim(RuleIssuer, "missing or out of form")
	case !isURI(c.Audience):
		return badClaim(RuleAudience, "missing or out of form")
	case c.Subject == "":
		return badClaim(RuleSubject, "missing")
	case c.ClientID == "":
		return badClaim(RuleClient, "missing")
	case !isLabel(string(c.OrgID)):
		return badClaim("org_id", "missing or out of form")
	case !isID(c.ID):
		return badClaim(RuleID, "missing or out of form")
	case !isID(c.Transaction):
		return badClaim(RuleTransaction, "missing or out of form")
	}
	return nil
}

func (c *Claims) checkTimes() *claimError {
	switch {
	case c.IssuedAt.IsZero():
		return badClaim("iat", "missing")
	case c.Expiry.IsZero():
		return badClaim(RuleExpiry, "missing")
	case !c.Expiry.After(c.IssuedAt):
		return badClaim(RuleExpiry, "not after iat")
	case c.Expiry.Sub(c.IssuedAt) > MaxLife:
		return badClaim(RuleExpiry, "more than %s after iat", MaxLife)
	case !c.NotBefore.IsZero() && !c.NotBefore.Before(c.Expiry):
		return badClaim("nbf", "not before exp")
	case c.SubjectIssuedAt.After(c.IssuedAt):
		return badClaim("subject_iat", "after iat") // it would seem younger than it is
	case !c.AuthTime.IsZero() && c.AuthTime.Unix() < 0, c.IssuedAt.Unix() < 0, c.Expiry.Unix() > maxDate:
		return badClaim("iat", "not of the years 1970 to 9999")
	}
	return nil
}

// checkOrg holds org_id against the org in every identifier, so that a consumer who forgets org_id still cannot take one
// tenant's user for another's.
func (c *Claims) checkOrg() *claimError {
	org, err := subjectOrg(c.Subject)
	if err != nil {
		return badClaim(RuleSubject, "not a user id or a service id")
	}
	if org != c.OrgID {
		return badClaim(RuleOrg, "the subject is of another org")
	}
	if org, _, err = ParseClientID(c.ClientID); err != nil {
		return badClaim(RuleClient, "not a client id")
	}
	if org != c.OrgID {
		return badClaim(RuleOrg, "the client is of another org")
	}
	return nil
}

// checkChain holds the shape that Delegate gives (ACT1, ACT5, ACT6): every actor an agent of this org in the namespace of
// this issuer, no more actors than maxDepth, and no more than the tokens in the lineage account for.
func (c *Claims) checkChain(maxDepth int) *claimError {
	depth := 0
	for a := c.Actor; a != nil; a = a.Act {
		if depth++; depth > maxDepth {
			return badChain(RuleDepth, "more than %d actors", maxDepth)
		}
		if err := c.checkAgent(a.Issuer, a.Subject); err != nil {
			return err
		}
	}
	if depth == 0 {
		return badChain(RuleAct, "missing")
	}
	if len(c.Lineage) > maxLineage {
		return badChain(RuleLineage, "more than %d tokens", maxLineage)
	}
	if depth > len(c.Lineage)+1 {
		return badChain(RuleLineage, "%d actors, but only %d tokens before", depth, len(c.Lineage))
	}
	for i, id := range c.Lineage {
		if !isID(id) || id == c.ID || slices.Contains(c.Lineage[:i], id) {
			return badChain(RuleLineage, "out of form, or a token twice")
		}
	}
	return nil
}

// checkAgent holds the pair of issuer and subject (ACT5).
func (c *Claims) checkAgent(issuer, subject string) *claimError {
	if issuer != c.Issuer {
		return badChain(RuleAct, "an actor of another issuer")
	}
	org, _, err := ParseAgentID(subject)
	if err != nil {
		return badChain(RuleAct, "not an agent id")
	}
	if org != c.OrgID {
		return badChain(RuleOrg, "an actor is of another org")
	}
	return nil
}

func (c *Claims) checkMayAct() *claimError {
	if c.MayAct == nil {
		return nil
	}
	if err := c.checkAgent(c.MayAct.Issuer, c.MayAct.Subject); err != nil {
		err.kind = ErrClaims
		if err.claim == RuleAct {
			err.claim = "may_act"
		}
		return err
	}
	return nil
}

// checkSignIn bounds what the subject's issuer said, which is the only text of others in a token.
func (c *Claims) checkSignIn() *claimError {
	switch {
	case c.ACR != "" && !isText(c.ACR, maxText):
		return badClaim("acr", "out of form")
	case c.SessionID != "" && !isText(c.SessionID, maxText):
		return badClaim("sid", "out of form")
	case len(c.AMR) > maxAMR || !allText(c.AMR, maxAMRLength):
		return badClaim("amr", "more than %d, or out of form", maxAMR)
	case len(c.Groups) > maxGroups || !allText(c.Groups, maxGroupBytes):
		return badClaim("groups", "more than %d, or out of form", maxGroups)
	}
	return nil
}

// thumbprintLength is that of 32 bytes in base64url.
const thumbprintLength = 43

func (c *Claims) checkBinding() *claimError {
	k := c.Confirmation
	switch {
	case k == nil:
		return nil
	case (k.JKT == "") == (k.X5T == ""):
		return badClaim(RuleBinding, "want exactly one of jkt and x5t#S256") // DP11
	case !isThumbprint(k.JKT + k.X5T):
		return badClaim(RuleBinding, "not a SHA-256 thumbprint")
	}
	return nil
}

func isThumbprint(s string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(s) == thumbprintLength && len(sum) == 32
}

// checkDetails holds the outer shape of RFC 9396 §2: an array of objects, each with a type.
func (c *Claims) checkDetails() *claimError {
	if c.AuthorizationDetails == nil {
		return nil
	}
	var details []struct {
		Type string `json:"type"`
	}
	if err := jose.DecodeClaims(c.AuthorizationDetails, &details); err != nil || len(details) == 0 {
		return badClaim(RuleDetails, "not an array of objects")
	}
	for _, d := range details {
		if d.Type == "" {
			return badClaim(RuleDetails, "an object without type")
		}
	}
	return nil
}

// isURI bounds an issuer or an audience. Which of them is meant is decided by comparing, byte for byte.
func isURI(s string) bool {
	return s != "" && len(s) <= maxURI && isPrintable(s) && !strings.ContainsAny(s, ` "\<>`)
}

func isID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isText(s string, limit int) bool {
	return s != "" && len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func allText(list []string, limit int) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !isText(s, limit) })
}
