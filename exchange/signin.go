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
	a, err := s.administrator(ctx, org, token, now)
	var f flaw
	var refused *Error
	switch {
	case errors.As(err, &f), errors.As(err, &refused) && refused.Reason != DependencyUnavailable:
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "a sign-in was refused", slog.String("org", string(org)), slog.Any("error", err))
		return SignedIn{}, errNobody
	case err != nil:
		return SignedIn{}, err
	}
	if err := s.cfg.Audit.Record(ctx, audit.Record{
		ActionID: string(org) + "." + rand.Text(), Kind: audit.KindAdmin, Outcome: audit.OutcomeApproved, Org: org, Time: now,
		TokenID: a.ID, Administrator: a.Subject, Role: a.Role, Resource: "sign-in", TraceID: telemetry.TraceID(ctx),
		Detail: fmt.Sprintf("sign in as %s until %s", a.Role, a.Expiry.Format(time.RFC3339)),
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

// administrator finds out who signs in, and as what.
func (s *Service) administrator(ctx context.Context, id delegation.OrgID, token string, now time.Time) (delegation.Administrator, error) {
	m, err := jose.Parse(token)
	if err != nil {
		return delegation.Administrator{}, flaw("it is not a signed JWT")
	}
	a := delegation.Administrator{
		Issuer: s.cfg.Issuer, OrgID: id, ID: rand.Text(), IssuedAt: now,
		Expiry: now.Add(min(delegation.MaxAdministratorLife, s.cfg.Limits.MaxLife)),
	}
	if id == store.PlatformOrg {
		return a, s.operator(ctx, &a, m, now)
	}
	org, err := s.cfg.Orgs.Org(ctx, id)
	switch {
	case errors.Is(err, registry.ErrUnknownOrg):
		return a, flaw("there is no such org")
	case err != nil:
		return a, unavailable(err, "the org cannot be read now")
	}
	if err := s.orgAdministrator(ctx, &a, org, m, now); err != nil {
		return a, err
	}
	claims := delegation.Claims{OrgID: id, Subject: a.Subject, IssuedAt: now, SubjectIssuedAt: a.SubjectIssuedAt}
	switch err := s.cfg.Revocations.Check(&claims, now); {
	case errors.Is(err, delegation.ErrRevoked):
		return a, flaw("it is older than a revocation of its subject or the org")
	case err != nil:
		return a, unavailable(err, "revocations cannot be checked now")
	}
	return a, nil
}

// orgAdministrator is a person of one of the org's issuers, or a workload of one of its platforms.
func (s *Service) orgAdministrator(ctx context.Context, a *delegation.Administrator, org *registry.Org, m jose.Message, now time.Time) error {
	var named struct {
		Issuer string `json:"iss"`
	}
	if err := jose.Decode(m.UnverifiedPayload(), &named); err != nil {
		return flaw("its claims are malformed")
	}
	if _, ok := org.WorkloadIssuer(named.Issuer); ok {
		return s.administratingWorkload(ctx, a, org, m, now)
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
	a.Role = org.PersonRole(trust.Name, l.party, l.rawSub, l.subject.Groups)
	return signIn(a, l)
}

func (s *Service) administratingWorkload(
	ctx context.Context, a *delegation.Administrator, org *registry.Org, m jose.Message, now time.Time,
) error {
	w := assertion{message: m}
	if err := jose.Decode(m.UnverifiedPayload(), &w.claims); err != nil {
		return flaw("its claims are malformed")
	}
	issuer, claims, err := s.openWorkload(ctx, org, w, now)
	if err != nil {
		return err
	}
	a.Role = org.WorkloadRole(issuer.Name, claims)
	a.Subject = fmt.Sprintf("workload:%s/%s|%s", org.ID(), issuer.Name, w.claims.Subject)
	a.SubjectIssuedAt = sooner(w.claims.IssuedAt.time(), now)
	a.Expiry = sooner(w.claims.Expiry.time(), a.Expiry)
	if a.Role == "" {
		return flaw("administrators names no such workload")
	}
	return nil
}

// operator is a person of the server's own registration.
func (s *Service) operator(ctx context.Context, a *delegation.Administrator, m jose.Message, now time.Time) error {
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
		a.Role = policy.RoleOperator
	}
	l.subject.ID = "operator:" + first.Name + "|" + l.rawSub
	return signIn(a, l)
}

// signIn puts a person into the token.
func signIn(a *delegation.Administrator, l *login) error {
	if a.Role == "" {
		return flaw("administrators names neither its sub nor one of its groups")
	}
	a.Subject, a.SubjectIssuedAt = l.subject.ID, sooner(l.issuedAt, a.IssuedAt)
	a.Expiry = sooner(l.subject.Expiry, a.Expiry)
	return nil
}

func sooner(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
