package delegation

import (
	"errors"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/jose"
)

// Grant is what the STS decided to put into a new token. It can only take away: what it does not name comes from the
// parent.
type Grant struct {
	Issuer   string // our STS; the same in a whole tree
	ClientID string // the client that asked
	Org      OrgID  // the org of that client; never a request field
	Actor    string // the agent that will act, an AgentID
	Audience string // the one resource
	Scope    Scopes // within the parent's
	MayAct   string // the agent that may pick the token up, an AgentID, or empty

	ID          string        // a fresh jti
	Transaction string        // a fresh txn, for Root only; empty, or the parent's, for Delegate
	Now         time.Time     // becomes iat
	Life        time.Duration // up to MaxLife; the parent's expiry may cut it short
	MaxDepth    int           // the org's limit of actors: 0 means DefaultDepth, more than MaxDepth means MaxDepth

	Confirmation *Confirmation // the key that the new actor has proven, or nil
	Details      rar.Details   // authorization_details; see Delegate
}

// Subject is on whose behalf a tree begins: what a verified token of a trusted issuer said about the user, or the name of a
// service account, which has nothing else.
type Subject struct {
	ID        string // a UserID or a ServiceID
	ACR       string
	AMR       []string
	AuthTime  time.Time
	SessionID string
	Groups    []string
	IssuedAt  time.Time // of the subject token; zero for a service account
	Expiry    time.Time // of the subject token; zero when it had none
}

// Unsigned is a token that the narrowing law allows and that nobody signed yet. Only Root and Delegate make one; the zero
// Unsigned cannot be signed.
type Unsigned struct {
	claims  *Claims
	payload []byte
	typ     string         // empty: TokenType
	alg     jose.Algorithm // empty: the signer's choice
}

// SignedWith is the same token, to be signed with an algorithm of the org's choice; the empty one leaves it to the signer.
func (u Unsigned) SignedWith(alg jose.Algorithm) Unsigned {
	u.alg = alg
	return u
}

// Algorithm is the one that was chosen, or empty.
func (u Unsigned) Algorithm() jose.Algorithm { return u.alg }

// Type is the header's "typ" under which the payload is to be signed.
func (u Unsigned) Type() string {
	if u.typ == "" {
		return TokenType
	}
	return u.typ
}

// Claims returns a copy of the claims.
func (u Unsigned) Claims() Claims {
	if u.claims == nil {
		return Claims{}
	}
	return u.claims.clone()
}

// Payload is the JWT claims set that a signer signs under the typ TokenType. Signed with any of our algorithms it stays
// within MaxTokenSize. The zero Unsigned has an error instead.
func (u Unsigned) Payload() ([]byte, error) {
	if u.payload == nil {
		return nil, errors.New("delegation: nothing to sign")
	}
	return slices.Clone(u.payload), nil
}

// Root starts a tree: the first token for a subject, with the grant's actor as the only one of its chain. The token ends
// no later than the subject token (TX22). Errors are *LawError.
func Root(s Subject, g Grant) (Unsigned, error) {
	if err := g.check(); err != nil {
		return Unsigned{}, err
	}
	c := g.claims()
	c.Subject = s.ID
	c.Transaction = g.Transaction
	c.ACR, c.AMR, c.SessionID = s.ACR, slices.Clone(s.AMR), s.SessionID
	c.AuthTime = s.AuthTime.UTC().Truncate(time.Second)
	c.Groups = slices.Clone(s.Groups)
	if !s.IssuedAt.IsZero() {
		c.SubjectIssuedAt = earlier(c.IssuedAt, s.IssuedAt) // an issuer's clock may be ahead of ours
	}
	c.Expiry = earlier(c.Expiry, s.Expiry)
	c.AuthorizationDetails = g.Details.JSON()
	return c.seal(g)
}

// Delegate makes a token that is no wider than v in any dimension (DESIGN §4). When the grant's actor is v's current
// actor, the chain is kept (a continuation); else the actor is wrapped around it.
//
// The zero Details of a grant name nothing: the child has the parent's, verbatim. Details that an org's types have read are
// the child's, each within one of the parent's (RA3); when none of them is left, the child has none. Errors are *LawError.
func (v Verified) Delegate(g Grant) (Unsigned, error) {
	p := v.claims
	if p == nil {
		return Unsigned{}, unlawful(RuleUnverified, "the parent was not verified")
	}
	if err := g.check(); err != nil {
		return Unsigned{}, err
	}
	if err := p.allows(g); err != nil {
		return Unsigned{}, err
	}
	details, err := p.narrowDetails(g.Details)
	if err != nil {
		return Unsigned{}, err
	}
	c := g.claims()
	c.Subject, c.Transaction = p.Subject, p.Transaction
	c.ACR, c.AMR, c.AuthTime, c.SessionID = p.ACR, slices.Clone(p.AMR), p.AuthTime, p.SessionID
	c.Groups = slices.Clone(p.Groups)
	c.AuthorizationDetails = details
	c.NotBefore, c.SubjectIssuedAt = p.NotBefore, p.SubjectIssuedAt
	c.Lineage = append(slices.Clone(p.Lineage), p.ID)
	c.Expiry = earlier(c.Expiry, p.Expiry)
	if g.Actor == p.Actor.Subject {
		c.Actor = p.Actor.clone() // ACT8
	} else {
		c.Actor.Act = p.Actor.clone() // ACT3
	}
	return c.seal(g)
}

// allows holds a grant against the parent that it is to narrow.
func (c *Claims) allows(g Grant) error {
	switch {
	case g.Org != c.OrgID:
		return unlawful(RuleOrg, "the client is of %q, the token of %q", g.Org, c.OrgID)
	case g.Issuer != c.Issuer:
		return unlawful(RuleIssuer, "the token is of another issuer")
	case g.Transaction != "" && g.Transaction != c.Transaction:
		return unlawful(RuleTransaction, "a child has its parent's transaction")
	case !g.Scope.SubsetOf(c.Scope):
		return unlawful(RuleScope, "beyond the parent: %s", g.Scope.Without(c.Scope))
	case !g.Now.Before(c.Expiry):
		return unlawful(RuleExpiry, "the parent has expired")
	case c.Confirmation == nil:
		return nil
	case g.Confirmation == nil:
		return unlawful(RuleBinding, "a bound token stays bound: the actor's key must be proven")
	case g.Actor == c.Actor.Subject && *g.Confirmation != *c.Confirmation:
		return unlawful(RuleBinding, "the same actor keeps its key") // ACT9
	}
	return nil
}

// narrowDetails are the authorization_details of a child. A parent's that the org's types do not read any more cannot be
// compared with anything, so nothing is within them.
func (c *Claims) narrowDetails(d rar.Details) ([]byte, error) {
	if d.Empty() {
		if c.AuthorizationDetails == nil || len(d.Types().Names()) > 0 {
			return nil, nil // there was nothing, or what there was has been taken away
		}
		return slices.Clone(c.AuthorizationDetails), nil
	}
	var parent rar.Details
	if c.AuthorizationDetails != nil {
		var err error
		if parent, err = d.Types().Parse(c.AuthorizationDetails); err != nil {
			return nil, unlawful(RuleDetails, "the parent's are not of the org's types: %v", err)
		}
	}
	if err := d.Within(parent); err != nil {
		return nil, unlawful(RuleDetails, "%v", err)
	}
	return d.JSON(), nil
}

// check holds what a grant must have by itself.
func (g *Grant) check() error {
	switch {
	case g.Now.IsZero():
		return unlawful(RuleExpiry, "no time")
	case g.Life < time.Second || g.Life > MaxLife:
		return unlawful(RuleExpiry, "life %s: want a second to %s", g.Life, MaxLife)
	case g.MaxDepth < 0:
		return unlawful(RuleDepth, "limit %d", g.MaxDepth)
	}
	return nil
}

// claims are those that a grant gives to a root and to a child alike.
func (g *Grant) claims() *Claims {
	issued := g.Now.UTC().Truncate(time.Second)
	c := &Claims{
		Issuer: g.Issuer, Audience: g.Audience, ClientID: g.ClientID, OrgID: g.Org, Scope: g.Scope,
		IssuedAt: issued, Expiry: issued.Add(g.Life).Truncate(time.Second), ID: g.ID,
		Actor: &Actor{Issuer: g.Issuer, Subject: g.Actor},
	}
	if g.MayAct != "" {
		c.MayAct = &MayAct{Issuer: g.Issuer, Subject: g.MayAct}
	}
	if g.Confirmation != nil {
		k := *g.Confirmation
		c.Confirmation = &k
	}
	return c
}

// payloadLimit leaves room for the longest header and signature: base64url of a 256-byte kid, and of 4096-bit RSA.
const payloadLimit = (MaxTokenSize - 512 - 768) * 3 / 4

// seal holds the finished claims to the very rules by which they will be read, and writes them.
func (c *Claims) seal(g Grant) (Unsigned, error) {
	if !c.Expiry.After(g.Now) {
		return Unsigned{}, unlawful(RuleExpiry, "no time is left")
	}
	depth := g.MaxDepth
	if depth == 0 {
		depth = DefaultDepth
	}
	if err := c.check(min(depth, MaxDepth)); err != nil {
		if e, ok := errors.AsType[*claimError](err); ok {
			return Unsigned{}, unlawful(e.claim, "%s", e.detail)
		}
		return Unsigned{}, err
	}
	payload, err := c.MarshalJSON()
	if err != nil {
		return Unsigned{}, unlawful(RuleSize, "cannot be written: %v", err)
	}
	if len(payload) > payloadLimit {
		return Unsigned{}, unlawful(RuleSize, "claims of %d bytes: want at most %d", len(payload), payloadLimit)
	}
	return Unsigned{claims: c, payload: payload}, nil
}

// earlier is the earlier of a and b, to the second; a zero b is no limit.
func earlier(a, b time.Time) time.Time {
	if b = b.UTC().Truncate(time.Second); !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
