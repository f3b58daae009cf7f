package remote

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// AssertionLife is how long an assertion that we make is good for. It is used at once; the server takes at most 5 minutes.
const AssertionLife = 4 * time.Minute

// The types of tokens (RFC 8693 section 3).
const (
	TypeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	TypeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
)

// assertion is what an agent signs to say who it is (RFC 7523 section 3).
type assertion struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
	ID       string `json:"jti"`

	Confirmation *confirmation `json:"cnf,omitempty"`
}

type confirmation struct {
	JKT string `json:"jkt"`
}

// Agent is an agent that makes its own assertion, to be handed on to.
type Agent struct {
	ID     string
	Key    jose.Signer
	Prover *dpop.Prover // of the key that its token is to be bound to; nil: none is named
}

// The types of assertions: whoever is given one of the second kind cannot authenticate with it.
const (
	authentication = "client-authentication+jwt"
	acting         = "actor-assertion+jwt"
)

// Assertion is a fresh credential of the agent (RFC 7523 section 2.2). issuer is the token server's, the one audience (CA4). Each
// is accepted once.
func (a Agent) Assertion(issuer string, now time.Time) (telemetry.Secret, error) {
	return a.assert(authentication, issuer, now)
}

// ActorToken is a fresh statement that the agent will act, for whoever hands over to it. Each is accepted once.
func (a Agent) ActorToken(issuer string, now time.Time) (telemetry.Secret, error) {
	return a.assert(acting, issuer, now)
}

func (a Agent) assert(typ, issuer string, now time.Time) (telemetry.Secret, error) {
	claims := assertion{Issuer: a.ID, Subject: a.ID, Audience: issuer, IssuedAt: now.Unix(),
		Expiry: now.Add(AssertionLife).Unix(), ID: uuid.NewString()}
	if a.Prover != nil && typ == acting {
		claims.Confirmation = &confirmation{a.Prover.Thumbprint()}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", explain.Failure("cannot write the assertion", err, "")
	}
	token, err := a.Key.Sign(typ, payload)
	if err != nil {
		return "", explain.Failure("cannot sign the assertion of "+a.ID, err, "check the private key")
	}
	return telemetry.Secret(token), nil
}

// ReadKey reads a private JWK file.
func ReadKey(path string) (jose.Signer, error) {
	data, err := readFile(path)
	if err != nil {
		return jose.Signer{}, explain.Failure("cannot read the private key", err, "name a file that holds one private JWK")
	}
	key, err := jose.ParsePrivateJWK(data)
	if err != nil {
		return jose.Signer{}, explain.Failure("cannot use the private key in "+path, err, "it must be one private JWK with kid and alg")
	}
	return key, nil
}
