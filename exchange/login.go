package exchange

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// MaxLoginAge is how old a login may be that starts a chain. It bounds how long the revocation of a user, a session or an
// agent must be remembered, so that no login from before it can be used again.
const MaxLoginAge = 24 * time.Hour

// The bounds of what an issuer may say about a user's groups.
const (
	maxGroups     = 64
	maxGroupBytes = 128
)

// loginClaims are the claims of an ID token or another JWT of an identity provider that mean something here.
type loginClaims struct {
	Subject   string          `json:"sub"`
	Audience  json.RawMessage `json:"aud"` // a string or an array of strings (JW10)
	Party     string          `json:"azp"`
	Nonce     string          `json:"nonce"`
	Expiry    *numericDate    `json:"exp"`
	NotBefore *numericDate    `json:"nbf"`
	IssuedAt  *numericDate    `json:"iat"`
	AuthTime  *numericDate    `json:"auth_time"`
	ACR       string          `json:"acr"`
	AMR       []string        `json:"amr"`
	SessionID string          `json:"sid"`
	MayAct    *mayAct         `json:"may_act"`
	Bound     json.RawMessage `json:"cnf"`
}

// readLogin judges the claims of a token whose signature was verified.
func readLogin(payload []byte, trust *registry.Trust, org delegation.OrgID, label string, now time.Time) (*login, error) {
	var c loginClaims
	all := map[string]json.RawMessage{}
	if jose.DecodeClaims(payload, &c) != nil || jose.Decode(payload, &all) != nil {
		return nil, flaw("its claims are malformed")
	}
	for _, err := range []error{
		checkKind(all, label), c.checkTimes(now), c.checkAudience(trust), checkTenant(all, trust),
	} {
		if err != nil {
			return nil, err
		}
	}
	if name := trust.SubjectClaim; name != "" {
		if jose.Decode(all[name], &c.Subject) != nil { // a missing one too
			return nil, flaw("its " + name + " claim, by which the org tells its users apart, is missing or no string")
		}
	}
	id, err := delegation.UserID(org, trust.Name, c.Subject)
	if err != nil {
		return nil, flaw("its sub must be 1 to 255 printable ASCII characters")
	}
	groups, err := readGroups(all, trust.GroupsClaim)
	if err != nil {
		return nil, err
	}
	bound, err := readConfirmation(c.Bound)
	if err != nil {
		return nil, err
	}
	audiences, err := c.audiences()
	if err != nil {
		return nil, err
	}
	return &login{
		subject: delegation.Subject{
			ID: id, ACR: c.ACR, AMR: c.AMR, AuthTime: c.AuthTime.time(), SessionID: c.SessionID, Groups: groups,
			IssuedAt: c.IssuedAt.time(), Expiry: c.Expiry.time(),
		},
		rawSub: c.Subject, issuedAt: c.IssuedAt.time(), mayAct: c.MayAct, bound: bound,
		audience: audiences, party: c.party(audiences), azp: c.Party, nonce: c.Nonce, profile: label,
	}, nil
}

// checkKind refuses a token that is not what it was called (TX6). Providers that do not type their headers give their tokens
// away by other claims: an access token has scopes, a logout token has events, an ID token has a nonce or at_hash.
func checkKind(all map[string]json.RawMessage, label string) error {
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { _, ok := all[n]; return ok })
	}
	switch {
	case has("act"): // ACT7: it could not be kept as it is, and dropping it would launder a delegation
		return flaw("it has an act claim: a delegated token of another issuer starts no chain here")
	case has("events", "toe"):
		return flaw("it is a security event token")
	case label == registry.TokenTypeID && has("scope", "scp", "client_id"):
		return flaw("it is an access token, not an id_token")
	case label == registry.TokenTypeID && has("typ") && string(all["typ"]) != `"ID"`:
		return flaw("its typ claim says that it is not an id_token")
	case label == registry.TokenTypeJWT && has("nonce", "at_hash", "c_hash"):
		return flaw("it is an id_token, not a jwt")
	case label == registry.TokenTypeJWT && has("authorization_details"): // dropping them would widen what it grants
		return flaw("it has authorization_details, which are not taken from another server's token: let its issuer leave them out")
	}
	return nil
}

func (c *loginClaims) checkTimes(now time.Time) error {
	switch {
	case c.Expiry == nil || c.IssuedAt == nil:
		return flaw("it needs exp and iat")
	case !now.Before(c.Expiry.time()):
		return flaw("it has expired")
	case c.IssuedAt.time().After(now.Add(skew)), c.NotBefore.time().After(now.Add(skew)), c.AuthTime.time().After(now.Add(skew)):
		return flaw("it is from the future") // JW11
	case c.IssuedAt.time().Before(now.Add(-MaxLoginAge)):
		return flaw("it was issued more than 24 hours ago")
	case !c.Expiry.time().After(c.IssuedAt.time()):
		return flaw("its exp is not after its iat")
	}
	return nil
}

// checkAudience wants one of the org's own client ids. With several audiences, azp says whom the token was issued to, and
// that must be one of the org's too (OpenID Connect Core §3.1.3.7).
func (c *loginClaims) checkAudience(trust *registry.Trust) error {
	several, err := c.audiences()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(several, func(a string) bool { return slices.Contains(trust.Audiences, a) }) {
		return flaw("its aud is not one that the org registered for this issuer")
	}
	if len(several) > 1 && !slices.Contains(trust.Audiences, c.Party) {
		return flaw("it has several audiences, and its azp is not one that the org registered for this issuer")
	}
	return nil
}

func (c *loginClaims) audiences() ([]string, error) {
	var several []string
	var one string
	switch {
	case jose.Decode(c.Audience, &one) == nil:
		several = []string{one}
	case jose.Decode(c.Audience, &several) != nil:
		return nil, flaw("its aud is neither a string nor an array of strings")
	}
	return several, nil
}

// party is whom the token was issued to: of several audiences, the azp.
func (c *loginClaims) party(audiences []string) string {
	if len(audiences) == 1 {
		return audiences[0]
	}
	return c.Party
}

// checkTenant tells the org's own users from everybody else's at a provider that serves many (CVE-2026-18215).
func checkTenant(all map[string]json.RawMessage, trust *registry.Trust) error {
	if trust.OrgClaim == "" {
		return nil
	}
	var value string
	if raw, ok := all[trust.OrgClaim]; !ok || jose.Decode(raw, &value) != nil || value != trust.OrgValue {
		return denied("the subject_token is of another org: its %s claim is not the one registered", trust.OrgClaim)
	}
	return nil
}

// readGroups reads the groups claim: an array of strings, or one string. Too many are refused rather than cut off, because a
// group that is cut off may be the one that a forbid names.
func readGroups(all map[string]json.RawMessage, claim string) ([]string, error) {
	raw, ok := all[claim]
	if claim == "" || !ok {
		return nil, nil
	}
	var groups []string
	var one string
	switch {
	case jose.Decode(raw, &one) == nil:
		groups = []string{one}
	case jose.Decode(raw, &groups) != nil:
		return nil, flaw("its groups claim is neither a string nor an array of strings")
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	if len(groups) > maxGroups || slices.ContainsFunc(groups, func(g string) bool { return g == "" || len(g) > maxGroupBytes }) {
		return nil, flaw("its groups claim has more than 64 groups, or one of more than 128 bytes: let the issuer send fewer")
	}
	return groups, nil
}
