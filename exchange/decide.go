package exchange

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// Facts are all that a decision may rest on: one reading of the world, for one request. What was proven is proven: tokens are
// verified and unrevoked, the client is authenticated.
type Facts struct {
	Grant       string // how the token was asked for; empty: GrantType
	Issuer      string // ours
	Limits      Limits
	Algorithm   jose.Algorithm // that the server signs with when an org has chosen none
	Now         time.Time
	Org         *registry.Org // one version of the org's configuration, policies included
	Client      *registry.Client
	Actor       *registry.Client         // the agent that will act; the client itself when no actor_token named another
	ActorKey    *delegation.Confirmation // that the actor itself named as its own in the actor_token, or nil
	ActorSigner *delegation.Confirmation // with which the actor itself signed the actor_token, or nil
	Possession  delegation.Possession    // what the client proved
	Subject     Subject
	Want        Want
	RemoteIP    netip.Addr
	TokenID     string // a fresh jti
	Transaction string // a fresh txn; used on a first hop only
}

// Approval is a token that may be signed once the trail has it. Only Decide makes one.
type Approval struct {
	unsigned delegation.Unsigned
	claims   delegation.Claims
	hop      hop
	evidence evidence
}

// hop is what a request is. The claims of the subject_token decide it, never the presence of a parameter: with an omitted
// actor_token a delegated token could be laundered into a fresh one (keycloak#52691).
type hop string

// The four cases of an exchange. There is no fifth.
const (
	firstHop     hop = "first hop"    // a user's login becomes the first agent's token
	handOver     hop = "delegation"   // the holder hands over to an agent that an actor_token proves
	pickUp       hop = "pick-up"      // the agent that may_act names continues the chain
	continuation hop = "continuation" // the holder narrows its own token; the chain is kept (ACT8)
)

// Decide is the decision: a token, or an *Error that says why not. It is pure: no clock, no store, no log.
//
// A chain may meet an agent again (A to B to A): each hop is another delegation, which policy sees and may forbid, it grows
// the chain by one, and the depth ends it (ACT6).
func Decide(f Facts) (Approval, error) {
	if f.Subject.txn != nil {
		return f.replaceTxn() // TT5: of another kind altogether
	}
	h, err := f.hop()
	if err != nil {
		return Approval{}, err
	}
	key, err := f.binding(h)
	if err != nil {
		return Approval{}, err
	}
	audience, err := f.audience()
	if err != nil {
		return Approval{}, err
	}
	mayAct, err := f.mayPickUp()
	if err != nil {
		return Approval{}, err
	}
	rights, seen, err := f.judge(h, audience)
	if err != nil {
		return Approval{}, err
	}
	grant := delegation.Grant{
		Issuer: f.Issuer, ClientID: f.Client.ClientID, Org: f.Org.ID(), Actor: f.Actor.ID, Audience: audience, Scope: rights.scope,
		MayAct: mayAct, ID: f.TokenID, Now: f.Now, Life: f.life(), MaxDepth: f.depth(), Confirmation: key, Details: rights.details,
	}
	u, err := f.seal(h, grant)
	if err != nil {
		return Approval{}, unlawful(err, seen)
	}
	if u, err = f.format(u); err != nil {
		return Approval{}, err
	}
	return f.approve(u, h, seen)
}

// approve is the last step: how the token is to be signed is the org's choice, within its profile (D4, FA6).
func (f *Facts) approve(u delegation.Unsigned, h hop, seen evidence) (Approval, error) {
	alg := f.Org.SigningAlgorithm()
	if f.Org.FAPI() && cmp.Or(alg, f.Algorithm) == jose.RS256 {
		return Approval{}, denied("the org is held to the FAPI profile and the server signs with RS256: choose a signing_algorithm")
	}
	return Approval{unsigned: u.SignedWith(alg), claims: u.Claims(), hop: h, evidence: seen}, nil
}

// seal holds the grant to the narrowing law.
func (f *Facts) seal(h hop, grant delegation.Grant) (delegation.Unsigned, error) {
	if h == firstHop {
		grant.Transaction = f.Transaction
		return delegation.Root(f.Subject.login.subject, grant)
	}
	return f.Subject.parent.Delegate(grant)
}

// hop finds out which of the four cases a request is.
func (f *Facts) hop() (hop, error) {
	for _, agent := range []*registry.Client{f.Actor, f.Client} {
		if off := agent.Off(f.Now); off != "" {
			return "", denied("agent %s is %s", agent.Name, off)
		}
	}
	if f.Client.Org != f.Org.ID() || f.Actor.Org != f.Org.ID() {
		return "", denied("the client and the actor are not of one org") // TX24
	}
	if f.Subject.login != nil {
		return f.isFirstHop()
	}
	c := &f.Subject.claims
	if c.OrgID != f.Org.ID() { // CVE-2026-18215; also the zero Subject
		return "", denied("the subject_token is of another org")
	}
	if err := f.chainStands(); err != nil {
		return "", err
	}
	if m := c.MayAct; m != nil && (m.Issuer != f.Issuer || m.Subject != f.Actor.ID) { // TX17
		return "", denied("may_act of the subject_token names another agent")
	}
	own, holder := f.Actor == f.Client, f.Subject.parent.Actor() == f.Client.ID
	switch {
	case holder && own:
		return continuation, nil
	case holder:
		return handOver, nil
	case own && c.MayAct != nil:
		return pickUp, nil
	case own:
		return "", denied("the subject_token was not issued to this client, and no may_act lets it pick the token up")
	}
	return "", denied("only the agent that a token was issued to may hand it over")
}

// isFirstHop holds a login against who would act on it. The client acts itself: an agent that logs a user in for another would
// stay out of the chain.
func (f *Facts) isFirstHop() (hop, error) {
	l := f.Subject.login
	switch {
	case f.Actor != f.Client:
		return "", denied("on a first hop the client itself acts; hand the token over afterwards")
	case l.subject.ID == f.Actor.ID, l.rawSub == f.Actor.ID, l.rawSub == f.Actor.ClientID:
		return "", denied("the subject is the actor: nobody acts on its own behalf") // ACT8
	case l.mayAct != nil && !l.mayAct.names(f.Actor, f.Issuer):
		return "", denied("may_act of the subject_token names another party") // TX17
	case !f.mayPresent(l):
		return "", denied("agent %s is not registered to present logins that were issued to that audience", f.Actor.Name)
	}
	return firstHop, nil
}

// mayPresent holds a login's audience against those of the agent's registration: another application's users are not its own.
func (f *Facts) mayPresent(l *login) bool {
	only := f.Client.Registration.Audiences
	if len(only) == 0 || l.service != nil || f.Grant == GrantJWTBearer { // which are made for us, not for an application
		return true
	}
	return slices.Contains(only, l.party)
}

// chainStands refuses to build on an agent that is disabled or gone. It is a state of the registration, like a revocation,
// and not a policy about prior actors (ACT4, C3).
func (f *Facts) chainStands() error {
	for a := f.Subject.claims.Actor; a != nil; a = a.Act {
		_, name, err := delegation.ParseAgentID(a.Subject)
		agent, ok := f.Org.Client(name)
		if err != nil || !ok || agent.Off(f.Now) != "" {
			return denied("an agent of the subject_token's chain is disabled, has expired or is no longer registered")
		}
	}
	return nil
}

// audience is whom the token will be for.
func (f *Facts) audience() (string, error) {
	audience, ours, err := f.formatTarget()
	if err != nil || !ours {
		return audience, err
	}
	return f.target()
}

// target is the one resource that the token will be for (TX10).
func (f *Facts) target() (string, error) {
	var targets []string
	for _, uri := range f.Want.Resources {
		if !f.Org.Resource(uri) {
			return "", refuse(InvalidTarget, "", nil, "the resource is not registered")
		}
		targets = append(targets, uri)
	}
	for _, name := range f.Want.Names {
		uri, ok := f.Org.ResourceNamed(name)
		if !ok {
			return "", refuse(InvalidTarget, "", nil, "the audience is not registered")
		}
		targets = append(targets, uri)
	}
	slices.Sort(targets)
	if targets = slices.Compact(targets); len(targets) != 1 {
		return "", refuse(InvalidTarget, "resource", nil,
			"resource and audience must name exactly one target, and they name %d", len(targets))
	}
	return targets[0], nil
}

// mayPickUp is the agent id of the one agent that may pick the new token up, or empty.
func (f *Facts) mayPickUp() (string, error) {
	if f.Want.MayAct == "" {
		return "", nil
	}
	org, name, err := delegation.ParseClientID(f.Want.MayAct)
	if err != nil {
		return "", invalid("may_act", "may_act must be a client_id")
	}
	agent, ok := f.Org.Client(name)
	if org != f.Org.ID() || !ok || agent.Off(f.Now) != "" {
		return "", denied("may_act names no enabled agent of the org")
	}
	if agent == f.Actor {
		return "", invalid("may_act", "may_act names the agent that acts already")
	}
	return agent.ID, nil
}

// life is how long the new token may live; the subject_token may cut it shorter still (TX22).
func (f *Facts) life() time.Duration {
	life := f.Want.Life
	if life == 0 {
		life = f.Limits.DefaultLife
	}
	life = min(life, f.Limits.MaxLife)
	if own := f.Org.MaxLife(); own > 0 {
		life = min(life, own)
	}
	for _, agent := range []*registry.Client{f.Actor, f.Client} { // no token outlives its agent
		if expires := agent.Registration.Expires; !expires.IsZero() {
			life = min(life, expires.Sub(f.Now))
		}
	}
	return life
}

// depth is how long a chain may be.
func (f *Facts) depth() int {
	if own := f.Org.MaxDepth(); own > 0 {
		return min(own, f.Limits.MaxDepth)
	}
	return f.Limits.MaxDepth
}

// unlawful is what the narrowing law refused although all of the above agreed.
func unlawful(err error, seen evidence) *Error {
	law, ok := errors.AsType[*delegation.LawError](err)
	if !ok {
		return refuse(Internal, "", err, "")
	}
	var e *Error
	switch law.Rule {
	case delegation.RuleScope:
		e = refuse(InvalidScope, "", err, "wider than the subject_token")
	case delegation.RuleExpiry:
		e = refuse(SubjectTokenInvalid, "subject_token", err, "subject_token: it is about to expire")
	case delegation.RuleDepth:
		e = refuse(DelegationDenied, "", err, "the delegation chain would be longer than the org allows") // ACT6
	case delegation.RuleBinding:
		e = refuse(SubjectTokenInvalid, "subject_token", err, "subject_token: it is bound to another key") // ACT9
	case delegation.RuleDetails:
		e = refuse(InvalidAuthorizationDetails, "", err, "authorization_details: wider than the subject_token") // RA3
	case delegation.RuleSize:
		e = refuse(DelegationDenied, "", err, "the token would be larger than %d bytes", delegation.MaxTokenSize)
	case delegation.RuleSubject, "acr", "amr", "sid", "groups", "auth_time":
		e = refuse(SubjectTokenInvalid, "subject_token", err, "subject_token: its %s claim is too long or out of form", law.Rule)
	default:
		e = refuse(DelegationDenied, "", err, "the narrowing law refuses: %s", law.Rule)
	}
	e.evidence = seen
	return e
}
