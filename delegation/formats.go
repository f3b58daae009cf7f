package delegation

import (
	"errors"
	"time"
)

// The typs of the other kinds of JWT that are made of what was approved. Each is accepted in exactly one place, and none where
// an access token is (JW4).
const (
	TypeIDJAG            = "oauth-id-jag+jwt"
	TypeTransactionToken = "txntoken+jwt"
	TypeIntrospection    = "token-introspection+jwt"
)

var errFormat = errors.New("delegation: this kind of token is not made here")

// IDJAG is what an identity assertion authorization grant says differently from the access token that it is made of.
type IDJAG struct {
	ClientID string // client_id of the agent at the authorization server that the grant is for
}

// IDJAG makes an identity assertion authorization grant of an approved root (JG3).
func (u Unsigned) IDJAG(IDJAG) (Unsigned, error) { return Unsigned{}, errFormat }

// TransactionToken is what a transaction token says beside the access token that it is made of.
type TransactionToken struct {
	Workload string // req_wl: the workload that asked for it
	Context  []byte // rctx: a JSON object about the request, or nil
	Details  []byte // tctx: a JSON object about the transaction, or nil
}

// TransactionToken makes a transaction token of an approved token (TT2).
func (u Unsigned) TransactionToken(TransactionToken) (Unsigned, error) { return Unsigned{}, errFormat }

// Introspection is the answer of RFC 7662 as a JWT (RFC 9701 §5).
type Introspection struct {
	Issuer   string
	Audience string // the caller's client_id
	IssuedAt time.Time
	Members  []byte // the JSON object of RFC 7662
}

// Unsigned is the answer, to be signed. It has no top-level sub and no exp, so that it cannot pass for an access token (IN7).
func (i Introspection) Unsigned() (Unsigned, error) { return Unsigned{}, errFormat }
