package exchange

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// An assertion of the jwt-bearer grant (RFC 7523 §2.1) is what an issuer that the org trusts says about a user to this very
// server. An identity assertion authorization grant (ID-JAG) is one for a client that it names. The latter is also issued here,
// for other authorization servers (JG3).

// maxGrantAssertionLife bounds how long the single use of an assertion must be remembered.
const maxGrantAssertionLife = time.Hour

// assertedClaims are the claims of an assertion that mean something here, beside those of a login.
type assertedClaims struct {
	Issuer       string          `json:"iss"`
	ID           string          `json:"jti"`
	ClientID     string          `json:"client_id"`
	Tenant       *string         `json:"tenant"`     // of the issuer (JG7)
	OurTenant    *string         `json:"aud_tenant"` // of ours
	Scope        *string         `json:"scope"`
	Resource     json.RawMessage `json:"resource"`
	Confirmation json.RawMessage `json:"cnf"`
}

// asserted is an assertion on its way to becoming a login.
type asserted struct {
	trust  *registry.Trust
	label  string // registry.TokenTypeAssertion or registry.TokenTypeIDJAG
	all    map[string]json.RawMessage
	login  loginClaims
	claims assertedClaims
}

// assertedLogin is the subject of the jwt-bearer grant: what the assertion of a trusted issuer says (JG1, JG4). Whatever is
// wrong with it is an invalid_grant here, and would be an invalid_request in token exchange (D2).
func (s *Service) assertedLogin(ctx context.Context, c caller, assertion string, now time.Time) (*login, error) {
	l, err := s.readAssertion(ctx, c, assertion, now)
	if f, ok := errors.AsType[flaw](err); ok {
		return nil, refuse(InvalidGrant, "assertion", err, "assertion: %v", f)
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Reason != DependencyUnavailable && e.Reason != Internal {
		return nil, refuse(InvalidGrant, "assertion", err, "%s", e.Description)
	}
	return l, err
}

// readAssertion verifies an assertion, and consumes it last: a forger can use up nobody's.
func (s *Service) readAssertion(ctx context.Context, c caller, assertion string, now time.Time) (*login, error) {
	a, err := s.openAsserted(ctx, c.org, assertion)
	if err != nil {
		return nil, err
	}
	for _, err := range []error{
		a.checkKind(), a.login.checkTimes(now), a.checkLife(now), a.checkAudience(s.cfg.Issuer), s.checkNoWorkload(c.org, a),
		a.checkTenant(c.org.ID()), a.checkClient(c),
	} {
		if err != nil {
			return nil, err
		}
	}
	l, err := a.subject(c.org.ID())
	if err != nil {
		return nil, err
	}
	id := a.claims.ID
	if id == "" { // RFC 7523 §3 lets it out: then what was signed is used once. An ES256 signature has a twin that verifies too.
		sum := sha256.Sum256([]byte(assertion[:strings.LastIndexByte(assertion, '.')]))
		id = "sha256:" + hex.EncodeToString(sum[:])
	}
	// An issuer's URL is no client id, so assertions of clients are of another namespace.
	err = s.cfg.Assertions(c.org.ID()).Consume(ctx, assertionKey(a.trust.URL, id), a.login.Expiry.time().Add(time.Minute))
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, store.ErrConflict):
		return nil, flaw("it was used before")
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, unavailable(err, "single use cannot be checked now")
}

// openAsserted finds the issuer that made the assertion, among those of the org, and verifies the signature.
func (s *Service) openAsserted(ctx context.Context, org *registry.Org, assertion string) (*asserted, error) {
	m, err := jose.Parse(assertion)
	if err != nil {
		return nil, flaw("it is not a signed JWT")
	}
	a := &asserted{all: map[string]json.RawMessage{}}
	switch m.Type() {
	case "", "jwt": // JW5
		a.label = registry.TokenTypeAssertion
	case delegation.TypeIDJAG: // JG4
		a.label = registry.TokenTypeIDJAG
	default: // JW4
		return nil, flaw("its typ is that of another kind of token")
	}
	payload := m.UnverifiedPayload()
	if jose.DecodeClaims(payload, &a.claims) != nil || jose.DecodeClaims(payload, &a.login) != nil ||
		jose.Decode(payload, &a.all) != nil {
		return nil, flaw("its claims are malformed")
	}
	trust, ok := org.Issuer(a.claims.Issuer)
	switch {
	case a.claims.Issuer == s.cfg.Issuer: // JG4: else a token of ours would buy a wider one
		return nil, flaw("it was issued by this server: exchange the token that it was made of")
	case !ok:
		return nil, flaw("its issuer is not one that the org trusts")
	case !trust.AcceptsType(a.label):
		return nil, flaw("its issuer is not registered for assertions of that kind")
	case !trust.AcceptsAlgorithm(m.Algorithm()):
		return nil, flaw("its issuer is not registered for that alg")
	}
	a.trust = trust
	_, key, err := s.issuers.key(ctx, trust.URL, m)
	if err != nil {
		return nil, err
	}
	if _, err := m.Verify(key); err != nil {
		return nil, flaw("its signature does not verify")
	}
	return a, nil
}

// checkKind refuses what was made for another use (JW4), and what would be lost on the way.
func (a *asserted) checkKind() error {
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { _, ok := a.all[n]; return ok })
	}
	switch plain := a.label == registry.TokenTypeAssertion; {
	case has("act"): // ACT7: it could not be kept as it is, and dropping it would launder a delegation
		return flaw("it has an act claim: a delegated token of another issuer starts no chain here")
	case has("authorization_details"): // dropping them would widen what it grants
		return flaw("it has authorization_details, which are not taken from an assertion: let its issuer send scope")
	case has("events", "toe"):
		return flaw("it is a security event token")
	case has("nonce", "at_hash", "c_hash"):
		return flaw("it is an id_token, not an assertion")
	case plain && has("client_id", "scp"):
		return flaw("it is an access token, not an assertion")
	case plain && has("cnf"):
		return flaw("it is bound to a key, which only an ID-JAG can be here")
	}
	return nil
}

func (a *asserted) checkLife(now time.Time) error {
	switch {
	case a.login.Expiry.time().After(now.Add(maxGrantAssertionLife + skew)):
		return flaw("its exp is more than an hour ahead")
	case len(a.claims.ID) > maxAssertionID:
		return flaw("its jti is longer than 256 bytes")
	case a.label == registry.TokenTypeIDJAG && a.claims.ID == "":
		return flaw("it has no jti")
	}
	return nil
}

// checkAudience wants this server: of an ID-JAG the issuer alone (JG4), of another assertion the issuer or the token endpoint,
// perhaps among others (JG1).
func (a *asserted) checkAudience(issuer string) error {
	var several []string
	var one string
	switch {
	case jose.Decode(a.login.Audience, &one) == nil:
		several = []string{one}
	case jose.Decode(a.login.Audience, &several) != nil:
		return flaw("its aud is neither a string nor an array of strings")
	}
	if a.label == registry.TokenTypeIDJAG {
		if len(several) != 1 || several[0] != issuer {
			return flaw("its aud must be exactly the issuer of this server")
		}
		return nil
	}
	if !slices.Contains(several, issuer) && !slices.Contains(several, issuer+tokenEndpoint) {
		return flaw("its aud must be the issuer or the token endpoint of this server")
	}
	return nil
}

// checkNoWorkload: of an issuer that vouches for workloads to the same audience, a token without a typ of its own is a workload's
// credential. It must not make the workload a user, whom everybody that the token was shown to could act for (JW4).
func (s *Service) checkNoWorkload(org *registry.Org, a *asserted) error {
	w, ok := org.WorkloadIssuer(a.claims.Issuer)
	if ok && a.label == registry.TokenTypeAssertion && onlyAudience(a.login.Audience, s.workloadAudience(w)) == nil {
		return flaw("it is a workload's token: give the issuer's workloads an audience of their own")
	}
	return nil
}

// checkTenant tells the org's own users from everybody else's. An ID-JAG has a claim of its own for that (JG7), and one that
// names a tenant is refused until the org has said which tenant is its own.
func (a *asserted) checkTenant(org delegation.OrgID) error {
	if a.claims.OurTenant != nil && *a.claims.OurTenant != string(org) {
		return denied("assertion: its aud_tenant is another org")
	}
	if a.label == registry.TokenTypeAssertion {
		return checkTenant(a.all, a.trust)
	}
	switch tenant := a.claims.Tenant; {
	case tenant == nil && a.trust.OrgClaim == "":
		return nil
	case tenant == nil:
		return denied("assertion: its issuer serves several tenants, and it has no tenant claim")
	case a.trust.OrgClaim == "":
		return denied("assertion: it names a tenant, and the org registered no org_claim and org_value for its issuer")
	case *tenant != a.trust.OrgValue:
		return denied("assertion: it is of another org: its tenant claim is not the one registered")
	}
	return nil
}

// checkClient: an ID-JAG is for the client that it names, and for no other (JG4).
func (a *asserted) checkClient(c caller) error {
	if a.label == registry.TokenTypeIDJAG && a.claims.ClientID != c.client.ClientID {
		return flaw("its client_id is not the client that presents it")
	}
	return nil
}

// subject is what the assertion says of the user, and of how far it goes.
func (a *asserted) subject(org delegation.OrgID) (*login, error) {
	c := &a.login
	id, err := delegation.UserID(org, a.trust.Name, c.Subject)
	if err != nil {
		return nil, flaw("its sub must be 1 to 255 printable ASCII characters")
	}
	groups, err := readGroups(a.all, a.trust.GroupsClaim)
	if err != nil {
		return nil, err
	}
	l := &login{
		subject: delegation.Subject{
			ID: id, ACR: c.ACR, AMR: c.AMR, AuthTime: c.AuthTime.time(), SessionID: c.SessionID, Groups: groups,
			IssuedAt: c.IssuedAt.time(), Expiry: c.Expiry.time(),
		},
		rawSub: c.Subject, issuedAt: c.IssuedAt.time(), mayAct: c.MayAct, profile: a.label,
	}
	if a.claims.Scope != nil {
		scope, err := delegation.ParseScopes(*a.claims.Scope)
		if err != nil {
			return nil, flaw("its scope is malformed")
		}
		l.scope = &scope
	}
	if l.resources, err = a.resources(); err != nil {
		return nil, err
	}
	l.bound, err = readConfirmation(a.claims.Confirmation) // JG5
	return l, err
}

// resources are those that the assertion is for: one, several, or none, which stands for all.
func (a *asserted) resources() ([]string, error) {
	if a.claims.Resource == nil {
		return nil, nil
	}
	var several []string
	var one string
	switch {
	case jose.Decode(a.claims.Resource, &one) == nil:
		several = []string{one}
	case jose.Decode(a.claims.Resource, &several) != nil || len(several) == 0:
		return nil, flaw("its resource is neither a string nor an array of strings")
	}
	for i, raw := range several {
		uri, ok := registry.NormalURI(raw)
		if !ok {
			return nil, flaw("its resource is not an absolute URI without a fragment")
		}
		several[i] = uri
	}
	return several, nil
}

// checkIDJAG checks the shape of a request for an ID-JAG (JG3).
func checkIDJAG(w *Want, r *Request) *Error {
	switch {
	case w.SubjectType != TypeIDToken:
		return invalid("subject_token_type", "an ID-JAG is made of the user's login: subject_token_type must be %s", TypeIDToken)
	case r.ActorToken != "": // JG7: it has no meaning there
		return invalid("actor_token", "an ID-JAG is for the client itself: leave actor_token out")
	}
	return checkAlone(r, "an ID-JAG")
}

// authorizationServer is the one that an ID-JAG is asked for.
func (f *Facts) authorizationServer() (*registry.AuthorizationServer, error) {
	if len(f.Want.Names) == 1 {
		if server, ok := f.Org.AuthorizationServer(f.Want.Names[0]); ok {
			return server, nil
		}
	}
	return nil, refuse(InvalidTarget, "", nil, "audience must be the issuer of an authorization server that the org registered")
}

// idjagTarget is the authorization server that an ID-JAG is for. The login must have been made to this agent: an ID token for
// one application must not buy access for another (JG3).
func (f *Facts) idjagTarget() (string, error) {
	server, err := f.authorizationServer()
	if err != nil {
		return "", err
	}
	if server.Clients[f.Actor.Name] == "" {
		return "", refuse(InvalidTarget, "", nil, "agent %s has no client_id registered at that authorization server", f.Actor.Name)
	}
	l := f.Subject.login
	if l == nil {
		return "", invalid("subject_token_type", "an ID-JAG is made of the user's login: subject_token_type must be %s", TypeIDToken)
	}
	stranger := func(aud string) bool { return !slices.Contains(f.Client.Registration.Audiences, aud) }
	if len(l.audience) == 0 || slices.ContainsFunc(l.audience, stranger) {
		return "", refuse(SubjectTokenInvalid, "subject_token", nil,
			"subject_token: its aud is not one that agent %s is registered for; an ID-JAG needs audiences in the agent's own registration",
			f.Client.Name)
	}
	return server.Issuer, nil
}

// idjag makes an ID-JAG of the approved root.
func (f *Facts) idjag(u delegation.Unsigned) (delegation.Unsigned, error) {
	server, err := f.authorizationServer()
	if err != nil {
		return delegation.Unsigned{}, err
	}
	return u.IDJAG(delegation.IDJAG{ClientID: server.Clients[f.Actor.Name], Resources: f.Want.Resources})
}
