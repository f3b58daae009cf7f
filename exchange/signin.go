package exchange

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// Operator is a person, or a group of people, that may operate the server: a trusted issuer of the server's own, with the one
// audience that is for signing in. Exactly one of Subject and Group is set.
type Operator struct {
	Name        string // of the issuer
	URL         string // iss
	Audience    string
	Subject     string
	Group       string
	GroupsClaim string // where the groups are
}

// OperatorPrefix is how the name of a person who operates the server begins: "operator:ISSUER|SUB".
const OperatorPrefix = "operator:"

// signInAudience makes the issuer's identifier the audience of a workload's token that is for signing in.
const signInAudience = "/sign-in"

// SignedIn is an administrator's token and what it says.
type SignedIn struct {
	delegation.Administrator
	Token telemetry.Secret
}

// errNobody is all that somebody learns who may not sign in: not whether there is such an org, nor whom it trusts (threat:
// tenant mix-up). What was wrong is in the log.
var errNobody = &Error{Reason: InvalidClient, Description: "sign-in is refused: the token is not a valid one of an administrator here; " +
	"it must be fresh, of a registered issuer, for the audience that is for signing in, and of somebody whom administrators names"}

// SignIn makes an administrator's token of a login: an ID token of a person, or the token of a workload. org says by whose
// registration the login is judged, and is that of the token; store.PlatformOrg is for operators. The sign-in is on the trail
// before the token is signed.
func (s *Service) SignIn(ctx context.Context, org delegation.OrgID, token string) (SignedIn, error) {
	now := s.cfg.Now().UTC()
	who, err := s.administrator(ctx, org, token, now)
	var f flaw
	var refused *Error
	switch {
	case errors.As(err, &f), errors.As(err, &refused) && refused.Reason != DependencyUnavailable:
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "a sign-in was refused", slog.String("org", string(org)), slog.Any("error", err))
		return SignedIn{}, errNobody
	case err != nil:
		return SignedIn{}, err
	}
	a := who.Administrator
	if err := s.cfg.Audit.Record(ctx, audit.Record{
		ActionID: string(org) + "." + rand.Text(), Kind: audit.KindAdmin, Outcome: audit.OutcomeApproved, Org: org, Time: now,
		Transaction: a.ID, TokenID: a.ID, Administrator: a.Subject, Role: a.Role, Authentication: &who.by, Resource: "sign-in",
		TraceID: telemetry.TraceID(ctx),
		Detail:  fmt.Sprintf("sign in as %s until %s", a.Role, a.Expiry.Format(time.RFC3339)),
	}); err != nil {
		return SignedIn{}, unavailable(err, "the sign-in cannot be recorded, so there is none")
	}
	u, err := a.Unsigned()
	if err != nil {
		return SignedIn{}, refuse(Internal, "", err, "")
	}
	signed, err := s.cfg.Signer.Sign(ctx, u)
	if err != nil {
		return SignedIn{}, unavailable(err, "no key can sign now")
	}
	return SignedIn{Administrator: a, Token: telemetry.Secret(signed)}, nil
}

// SignOut revokes an administrator's token at the wish of whoever holds it. What does not verify is no error: it grants nothing
// (RV1).
func (s *Service) SignOut(ctx context.Context, token string) error {
	a, err := s.cfg.Tokens.VerifyAdministrator(ctx, token)
	switch {
	case errors.Is(err, delegation.ErrUnavailable): // RV5: nobody may believe that it is dead
		return unavailable(err, "whether the token is good cannot be known now")
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return nil //nolint:nilerr // it is refused already
	case s.cfg.Revoker == nil:
		return refuse(UnsupportedTokenType, "token", nil, "tokens cannot be revoked here: they expire")
	}
	if err := s.cfg.Revoker.SignOut(ctx, a); err != nil {
		return unavailable(err, "the revocation cannot be put into force now")
	}
	return nil
}

// newcomer is who signs in, and how the issuer says that it knows who that is.
type newcomer struct {
	delegation.Administrator
	by audit.Authentication
}

// administrator finds out who signs in, and as what. A login from before a revocation of its subject is none.
func (s *Service) administrator(ctx context.Context, id delegation.OrgID, token string, now time.Time) (newcomer, error) {
	m, err := jose.Parse(token)
	if err != nil {
		return newcomer{}, flaw("it is not a signed JWT")
	}
	n := newcomer{Administrator: delegation.Administrator{
		Issuer: s.cfg.Issuer, OrgID: id, ID: rand.Text(), IssuedAt: now,
		Expiry: now.Add(min(delegation.MaxAdministratorLife, s.cfg.Limits.MaxLife)),
	}}
	if id == store.PlatformOrg {
		err = s.operator(ctx, &n, m, now)
	} else {
		err = s.orgAdministrator(ctx, &n, m, now)
	}
	if err != nil {
		return n, err
	}
	claims := delegation.Claims{OrgID: id, Subject: n.Subject, IssuedAt: now, SubjectIssuedAt: n.SubjectIssuedAt}
	switch err := s.cfg.Revocations.Check(&claims, now); {
	case errors.Is(err, delegation.ErrRevoked):
		return n, flaw("it is older than a revocation of its subject or the org")
	case err != nil:
		return n, unavailable(err, "revocations cannot be checked now")
	}
	return n, nil
}

// orgAdministrator is a person of one of the org's issuers, or a workload of one of its platforms.
func (s *Service) orgAdministrator(ctx context.Context, n *newcomer, m jose.Message, now time.Time) error {
	org, err := s.cfg.Orgs.Org(ctx, n.OrgID)
	switch {
	case errors.Is(err, registry.ErrUnknownOrg):
		return flaw("there is no such org")
	case err != nil:
		return unavailable(err, "the org cannot be read now")
	}
	var named struct {
		Issuer string `json:"iss"`
	}
	if err := jose.Decode(m.UnverifiedPayload(), &named); err != nil {
		return flaw("its claims are malformed")
	}
	if _, ok := org.WorkloadIssuer(named.Issuer); ok {
		return s.administratingWorkload(ctx, n, org, m, now)
	}
	trust, err := s.issuers.trusted(org, m, registry.TokenTypeID)
	if err != nil {
		return err
	}
	own := *trust
	own.Audiences = org.AdministratorAudiences(trust.Name) // and none that agents present logins of
	l, _, _, err := s.issuers.open(ctx, &own, m, org.ID(), registry.TokenTypeID, now)
	if err != nil {
		return err
	}
	if l.bound != nil {
		return flaw("it is bound to a key, which nobody proves here")
	}
	if l, err = s.enrolled(ctx, org, l); err != nil {
		return err
	}
	n.Role = org.PersonRole(trust.Name, l.party, l.rawSub, l.subject.Groups)
	return n.as(l, own.URL)
}

// administratingWorkload is a workload whose token is for signing in and for nothing else: one that an agent authenticates with
// may lie in many more places, and must not administer when it gets into wrong hands (JW10).
func (s *Service) administratingWorkload(ctx context.Context, n *newcomer, org *registry.Org, m jose.Message, now time.Time) error {
	w := assertion{message: m}
	if t := m.Type(); t != "" && t != "jwt" || jose.Decode(m.UnverifiedPayload(), &w.claims) != nil { // JW5
		return flaw("it is no token of a workload")
	}
	issuer, claims, err := s.openWorkload(ctx, org, w, s.cfg.Issuer+signInAudience, now)
	if err != nil {
		return err
	}
	if s.workloadAudience(issuer) == s.cfg.Issuer+signInAudience {
		return flaw("its issuer is registered with the audience for signing in as that of agents")
	}
	n.Role = org.WorkloadRole(issuer.Name, claims)
	n.Subject = fmt.Sprintf("workload:%s/%s|%s", org.ID(), issuer.Name, w.claims.Subject)
	n.SubjectIssuedAt = sooner(w.claims.IssuedAt.time(), n.IssuedAt)
	n.Expiry = sooner(w.claims.Expiry.time(), n.Expiry)
	n.by = audit.Authentication{Issuer: issuer.URL}
	if n.Role == "" {
		return flaw("administrators names no such workload")
	}
	return nil
}

// operator is a person of the server's own registration.
func (s *Service) operator(ctx context.Context, n *newcomer, m jose.Message, now time.Time) error {
	var named struct {
		Issuer string `json:"iss"`
	}
	if t := m.Type(); t != "" && t != "jwt" || jose.Decode(m.UnverifiedPayload(), &named) != nil {
		return flaw("it is no ID token")
	}
	at := slices.IndexFunc(s.cfg.Operators, func(o Operator) bool { return o.URL == named.Issuer })
	if at < 0 {
		return flaw("its issuer is not one of operators")
	}
	first := s.cfg.Operators[at]
	trust := &registry.Trust{Issuer: registry.Issuer{Name: first.Name, URL: first.URL, GroupsClaim: first.GroupsClaim}}
	for _, o := range s.cfg.Operators {
		if o.URL == first.URL {
			trust.Audiences = append(trust.Audiences, o.Audience)
		}
	}
	if !trust.AcceptsAlgorithm(m.Algorithm()) {
		return flaw("its alg is not taken")
	}
	const nobodys = "operators" // readLogin wants an org to make a user's id of; this one is not used
	l, _, _, err := s.issuers.open(ctx, trust, m, nobodys, registry.TokenTypeID, now)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(s.cfg.Operators, func(o Operator) bool {
		return o.URL == first.URL && o.Audience == l.party &&
			(o.Subject != "" && o.Subject == l.rawSub || o.Group != "" && slices.Contains(l.subject.Groups, o.Group))
	}) {
		n.Role = policy.RoleOperator
	}
	if l.bound != nil {
		return flaw("it is bound to a key, which nobody proves here")
	}
	l.subject.ID = OperatorPrefix + first.Name + "|" + l.rawSub
	return n.as(l, first.URL)
}

// as puts a person into the token.
func (n *newcomer) as(l *login, issuer string) error {
	if n.Role == "" {
		return flaw("administrators names neither its sub nor one of its groups")
	}
	n.Subject, n.SubjectIssuedAt = l.subject.ID, sooner(l.issuedAt, n.IssuedAt)
	n.Expiry = sooner(l.subject.Expiry, n.Expiry)
	n.by = audit.Authentication{Issuer: issuer, ACR: l.subject.ACR, AMR: l.subject.AMR, AuthTime: l.subject.AuthTime}
	return nil
}

func sooner(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
