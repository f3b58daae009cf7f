package delegation

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/onbehalf/obo/jose"
)

// TokenType is the header's "typ" of every token of ours (RFC 9068 §2.1).
const TokenType = "at+jwt"

// The limits of a token.
const (
	MaxTokenSize = 8 << 10          // bytes of the whole token
	MaxDepth     = 10               // actors in a chain; an org may set less
	MaxLife      = 60 * time.Minute // from iat to exp
	DefaultDepth = 5                // when a Grant names no depth
)

// Claims are what a delegation token says (DESIGN §4): the claims of RFC 9068, the delegation chain of RFC 8693 §4.1,
// and ours. Times have the precision of a second; a zero time is an absent claim.
type Claims struct {
	Issuer   string // iss: our STS
	Audience string // aud: exactly one resource
	Subject  string // sub: on whose behalf, a UserID or a ServiceID
	ClientID string // client_id: who asked for the token; not the actor (RFC 8693 §4.3)
	OrgID    OrgID  // org_id: the tenant of everybody named here

	Scope     Scopes    // scope: what may be done; empty allows nothing
	IssuedAt  time.Time // iat
	Expiry    time.Time // exp: the first moment at which the token is dead
	NotBefore time.Time // nbf: optional
	// SubjectIssuedAt is subject_iat: when the login that began the tree was issued, copied and never refreshed, and never
	// later than iat. A revocation is compared with it, so that no token outlives the revocation of an older login, however
	// late it was minted. Absent where no login began the tree: that of a service account.
	SubjectIssuedAt time.Time

	ID          string   // jti: 1 to 64 of A-Z a-z 0-9 - _
	Transaction string   // txn: the same in every token of one tree; form as ID
	Lineage     []string // lineage: the ids of the tokens that this one came from, the first of the tree first

	Actor  *Actor  // act: who acts now, and on whose handing over
	MayAct *MayAct // may_act: the agent that may pick this token up (RFC 8693 §4.4)

	Confirmation         *Confirmation // cnf: the key that the current actor must prove
	AuthorizationDetails []byte        // authorization_details: a JSON array (RFC 9396), or nil

	ACR       string    // acr, amr, auth_time, sid: how the user signed in, copied and never refreshed (TX21)
	AMR       []string  //
	AuthTime  time.Time //
	SessionID string    //
	Groups    []string  // groups: of the user, as the issuer said them (RFC 9068 §2.2.3.1)
}

// Actor is one actor of a delegation chain. The outermost is the current one; each nested one handed over to the one
// around it (ACT3).
type Actor struct {
	Issuer  string // iss: the namespace of Subject
	Subject string // sub: an AgentID
	Act     *Actor // act: the actor before, or nil
	Other   []byte // the members that this package does not know, as one JSON object; kept verbatim
}

// MayAct names the agent that may become the actor of a token by picking it up.
type MayAct struct {
	Issuer  string `json:"iss,omitempty"`
	Subject string `json:"sub,omitempty"` // an AgentID
}

// Confirmation binds a token to a key (RFC 7800). Exactly one member is set (DP11).
type Confirmation struct {
	JKT string // jkt: SHA-256 thumbprint of a DPoP key (RFC 9449 §6.1)
	X5T string // x5t#S256: SHA-256 thumbprint of a TLS client certificate (RFC 8705 §3.1)
}

// Chain lists the ids of the actors, the current one first.
func (c Claims) Chain() []string {
	chain := make([]string, 0, c.Depth())
	for a := c.Actor; a != nil; a = a.Act {
		chain = append(chain, a.Subject)
	}
	return chain
}

// Depth is the number of actors in the chain.
func (c Claims) Depth() int {
	n := 0
	for a := c.Actor; a != nil; a = a.Act {
		n++
	}
	return n
}

// MarshalJSON writes the claims as they stand in a token. It does not judge them; that is for Root, Delegate and Verify.
func (c Claims) MarshalJSON() ([]byte, error) { return jose.Encode(toWire(&c)) }

var _ json.Marshaler = Claims{}

// clone copies the claims and all that they point to, so that nobody can change what was verified.
func (c *Claims) clone() Claims {
	out := *c
	out.Lineage = slices.Clone(c.Lineage)
	out.AMR = slices.Clone(c.AMR)
	out.Groups = slices.Clone(c.Groups)
	out.AuthorizationDetails = slices.Clone(c.AuthorizationDetails)
	out.Actor = c.Actor.clone()
	if c.MayAct != nil {
		m := *c.MayAct
		out.MayAct = &m
	}
	if c.Confirmation != nil {
		k := *c.Confirmation
		out.Confirmation = &k
	}
	return out
}

func (a *Actor) clone() *Actor {
	if a == nil {
		return nil
	}
	return &Actor{Issuer: a.Issuer, Subject: a.Subject, Act: a.Act.clone(), Other: slices.Clone(a.Other)}
}
