package delegation

import (
	"context"
	"fmt"
	"time"

	"github.com/onbehalf/obo/jose"
)

// TypeAdministrator is the typ of an administrator's token. It is taken by the administrators' services and nowhere else (JW4).
const TypeAdministrator = "admin+jwt"

// MaxAdministratorLife is how long an administrator's token may live. Signing in again makes another.
const MaxAdministratorLife = 15 * time.Minute

// Administrator is somebody who may administer an org, or the server: what an administrator's token says. It acts for nobody
// and is no subject of an exchange. Fields without a value are absent claims.
type Administrator struct {
	Issuer   string    // iss, and aud: our STS
	Subject  string    // sub: a UserID, a workload "workload:ORG/ISSUER|SUB", or "operator:…"
	OrgID    OrgID     // org_id: whose administrator it is; that of the platform for an operator
	Role     string    // role: one of package policy's
	ID       string    // jti
	IssuedAt time.Time // iat
	Expiry   time.Time // exp
	// SubjectIssuedAt is subject_iat: when the login was issued that was shown at the sign-in.
	SubjectIssuedAt time.Time
}

// wireAdministrator is the payload. It has no client_id, scope or act: nothing that reads access tokens could take it for one,
// were it to forget the typ.
type wireAdministrator struct {
	Issuer          string       `json:"iss"`
	Audience        string       `json:"aud"`
	Subject         string       `json:"sub"`
	OrgID           OrgID        `json:"org_id"`
	Role            string       `json:"role"`
	ID              string       `json:"jti"`
	IssuedAt        *numericDate `json:"iat"`
	Expiry          *numericDate `json:"exp"`
	SubjectIssuedAt *numericDate `json:"subject_iat,omitempty"`
}

// check holds what must be there. The org may be that of the platform, which no user can be of.
func (a *Administrator) check() *claimError {
	switch {
	case !isURI(a.Issuer):
		return badClaim(RuleIssuer, "missing or out of form")
	case a.Subject == "" || len(a.Subject) > maxURI || !isPrintable(a.Subject):
		return badClaim(RuleSubject, "missing or out of form")
	case a.OrgID == "":
		return badClaim(RuleOrg, "missing")
	case !isLabel(a.Role):
		return badClaim("role", "missing or out of form")
	case !isID(a.ID):
		return badClaim(RuleID, "missing or out of form")
	case a.IssuedAt.IsZero() || !a.Expiry.After(a.IssuedAt) || a.Expiry.Sub(a.IssuedAt) > MaxAdministratorLife:
		return badClaim(RuleExpiry, "want at most %s after iat", MaxAdministratorLife)
	case a.SubjectIssuedAt.After(a.IssuedAt):
		return badClaim("subject_iat", "after iat")
	}
	return nil
}

// Unsigned makes the token. Errors are *LawError.
func (a Administrator) Unsigned() (Unsigned, error) {
	if err := a.check(); err != nil {
		return Unsigned{}, unlawful(err.claim, "%s", err.detail)
	}
	c := &Claims{
		Issuer: a.Issuer, Audience: a.Issuer, Subject: a.Subject, OrgID: a.OrgID, ID: a.ID, IssuedAt: a.IssuedAt.UTC().Truncate(time.Second),
		Expiry: a.Expiry.UTC().Truncate(time.Second), SubjectIssuedAt: a.SubjectIssuedAt.UTC().Truncate(time.Second),
	}
	return c.as(TypeAdministrator, wireAdministrator{
		Issuer: c.Issuer, Audience: c.Audience, Subject: c.Subject, OrgID: c.OrgID, Role: a.Role, ID: c.ID,
		IssuedAt: toDate(c.IssuedAt), Expiry: toDate(c.Expiry), SubjectIssuedAt: toDate(c.SubjectIssuedAt),
	})
}

// VerifyAdministrator accepts an administrator's token as Verify accepts an access token: by its issuer, which is its audience
// too, its time, and what was revoked of its subject and its org. Errors wrap one of the sentinels.
func (v *Verifier) VerifyAdministrator(ctx context.Context, token string) (Administrator, error) {
	if len(token) > MaxTokenSize {
		return Administrator{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxTokenSize)
	}
	payload, _, err := v.authentic(ctx, token, TypeAdministrator)
	if err != nil {
		return Administrator{}, err
	}
	var w wireAdministrator
	if err := jose.DecodeClosed(payload, &w); err != nil {
		return Administrator{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	a := Administrator{
		Issuer: w.Issuer, Subject: w.Subject, OrgID: w.OrgID, Role: w.Role, ID: w.ID, IssuedAt: w.IssuedAt.time(), Expiry: w.Expiry.time(),
		SubjectIssuedAt: w.SubjectIssuedAt.time(),
	}
	switch bad := a.check(); {
	case bad != nil:
		return Administrator{}, bad
	case a.Issuer != v.config.Issuer:
		return Administrator{}, ErrIssuer
	case w.Audience != v.config.Issuer:
		return Administrator{}, ErrAudience
	}
	c := Claims{
		OrgID: a.OrgID, Subject: a.Subject, ID: a.ID, IssuedAt: a.IssuedAt, Expiry: a.Expiry, SubjectIssuedAt: a.SubjectIssuedAt,
	}
	now := v.config.Now()
	if err := v.checkTime(&c, now); err != nil {
		return Administrator{}, err
	}
	return a, v.config.Revocations.Check(&c, now)
}
