package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/client"
	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/delegation/dpop"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

type exchangeCommand struct {
	agentFlags
	GrantType        string `enum:"token-exchange,client_credentials,jwt-bearer" default:"token-exchange" help:"token-exchange; client_credentials for the org's service account; jwt-bearer for an assertion of a trusted issuer."`
	SubjectTokenFile string `default:"-" from:"OBO_USER_TOKEN_FILE" placeholder:"FILE" help:"File with the subject token, or the assertion of jwt-bearer; - for standard input (OBO_USER_TOKEN_FILE)."`
	SubjectTokenType string `enum:"auto,id_token,jwt,access_token,txn_token" default:"auto" help:"id_token, jwt, access_token or txn_token. auto looks at the token."`
	To               string `placeholder:"NAME" help:"Hand on to this agent: makes its assertion from OBO_NAME_ID and _KEY."`
	ToDPoPKey        string `name:"to-dpop-key" placeholder:"FILE" help:"That agent's DPoP key, which the new token is to be bound to. Made when it is not there."`
	ActorTokenFile   string `placeholder:"FILE" help:"File with the next agent's own assertion or token."`
	ActorTokenType   string `enum:"jwt,access_token" default:"jwt" help:"jwt or access_token."`

	Scope                string   `placeholder:"SCOPES" help:"Space-separated. Absent: all that policy allows."`
	AuthorizationDetails string   `placeholder:"JSON" help:"A JSON array (RFC 9396), @FILE reads one. Absent: the subject token's."`
	Resource             []string `placeholder:"URI" from:"OBO_EXECUTOR_AUDIENCE" help:"What the token is for (OBO_EXECUTOR_AUDIENCE)."`
	Audience             []string `placeholder:"NAME" help:"The same by its registered name; another authorization server for id-jag."`
	ExpiresIn            int32    `placeholder:"SECONDS" help:"How long the token is to live. What the org and the server allow is the limit."`
	MayAct               string   `placeholder:"CLIENT" help:"The one client that may pick the new token up."`
	RequestedTokenType   string   `enum:"access_token,jwt,id-jag,txn_token" default:"access_token" help:"access_token, jwt, id-jag or txn_token."`
	DPoPKey              string   `name:"dpop-key" placeholder:"FILE" help:"Private JWK to bind the token to (RFC 9449). Made when it is not there."`
	HTTP                 bool     `name:"http" help:"Use the standard's own door, a form post, instead of gRPC."`
}

// Help is shown below the flags.
func (exchangeCommand) Help() string {
	return `Standard output gets the token alone, so that it can go into a file; --output json gets the whole answer.

Examples:
  obo exchange --subject-token-file "$OBO_USER_TOKEN_FILE" --scope "tracker:issues:read" > first
  obo exchange --subject-token-file first --to researcher --scope "tracker:issues:read" > second
  obo exchange --as org2-agent --subject-token-file alice-of-globex.token -o json
  obo exchange --dpop-key my.jwk > bound && obo tools --token-file bound --dpop-key my.jwk
  obo exchange --authorization-details '[{"type":"tracker_bounty","project":"apollo","dollars":100}]'
  obo exchange --grant-type client_credentials --scope tracker:issues:read`
}

func (c exchangeCommand) Run(ctx context.Context, a *app) error {
	who, err := c.find(a)
	if err != nil {
		return err
	}
	req, err := c.request(a)
	if err != nil {
		return err
	}
	var prover *dpop.Prover
	if c.DPoPKey != "" {
		if prover, err = remote.ReadProver(c.DPoPKey, true, a.now); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	exchange := c.overGRPC
	if c.HTTP {
		exchange = c.overHTTP
	}
	resp, err := exchange(ctx, a, who, prover, req)
	if err != nil {
		return explain.Of("cannot get a token", err)
	}
	return a.Print(answerOf(resp), func() { a.Printf("%s\n", resp.GetAccessToken()) })
}

// answer is what the token endpoint answers with (RFC 8693 section 2.2.1), with the details as JSON and not as a string of it.
type answer struct {
	AccessToken     string          `json:"access_token"`
	IssuedTokenType string          `json:"issued_token_type"`
	TokenType       string          `json:"token_type"`
	ExpiresIn       int32           `json:"expires_in"`
	Scope           string          `json:"scope"`
	Details         json.RawMessage `json:"authorization_details,omitempty"`
	ActionID        string          `json:"action_id"`
}

func answerOf(r *obov1.ExchangeResponse) answer {
	return answer{r.GetAccessToken(), r.GetIssuedTokenType(), r.GetTokenType(), r.GetExpiresIn(), r.GetScope(),
		json.RawMessage(r.GetAuthorizationDetails()), r.GetActionId()}
}

const tokenTypeURN = "urn:ietf:params:oauth:token-type:"

// request builds the request from the flags, but for the actor token, which each attempt makes anew.
func (c exchangeCommand) request(a *app) (*obov1.ExchangeRequest, error) {
	req := &obov1.ExchangeRequest{Scope: c.Scope, Resource: c.Resource, Audience: c.Audience, RequestedExpiresIn: c.ExpiresIn,
		MayAct: c.MayAct, AuthorizationDetails: c.AuthorizationDetails}
	if len(c.Audience) > 0 {
		req.Resource = nil // together they name one target; the flag on the command line is the one that is meant
	}
	if c.RequestedTokenType != "access_token" {
		req.RequestedTokenType = tokenTypeURN + c.RequestedTokenType
	}
	if name, ok := strings.CutPrefix(c.AuthorizationDetails, "@"); ok {
		details, err := remote.ReadSecret(name, nil)
		if err != nil {
			return nil, err
		}
		req.AuthorizationDetails = details.Reveal()
	}
	if c.GrantType == client.GrantClientCredentials {
		req.GrantType = client.GrantClientCredentials
		return req, nil
	}
	subject, err := remote.ReadSecret(c.SubjectTokenFile, a.in)
	if err != nil {
		return nil, err
	}
	if c.GrantType == "jwt-bearer" {
		req.GrantType, req.Assertion = client.GrantJWTBearer, subject.Reveal()
		return req, nil
	}
	req.SubjectToken = subject.Reveal()
	req.SubjectTokenType, err = c.subjectType(a, subject)
	return req, err
}

func (c exchangeCommand) subjectType(a *app, subject telemetry.Secret) (string, error) {
	if c.SubjectTokenType != "auto" {
		return tokenTypeURN + c.SubjectTokenType, nil
	}
	t, err := render.ParseToken(subject.Reveal())
	if err != nil {
		return "", explain.Failure("cannot tell the type of the subject token", err, "give --subject-token-type")
	}
	switch typ := t.Header["typ"]; {
	case typ == "txntoken+jwt":
		return client.TypeTxnToken, nil
	case typ == "at+jwt" && (a.Issuer == "" || t.Issuer == a.Issuer):
		return client.TypeAccessToken, nil
	default:
		return client.TypeIDToken, nil
	}
}

// actorToken is the next agent's proof: read from a file, or made from its key; empty when there is no next agent.
func (c exchangeCommand) actorToken(ctx context.Context, a *app) (token, kind string, err error) {
	if c.ActorTokenFile != "" {
		secret, err := remote.ReadSecret(c.ActorTokenFile, a.in)
		return secret.Reveal(), tokenTypeURN + c.ActorTokenType, err
	}
	if c.To == "" {
		return "", "", nil
	}
	prefix := agentPrefix(c.To)
	id, _ := a.env(prefix + "_ID")
	path, _ := a.env(prefix + "_KEY")
	if id == "" || path == "" {
		return "", "", explain.Misuse("cannot make the assertion of "+c.To, prefix+"_ID and _KEY are not both set",
			"point --env to the file that obo dev wrote, or give --actor-token-file")
	}
	if a.Issuer == "" {
		return "", "", missing("the token server's issuer", "--issuer", "OBO_ISSUER")
	}
	key, err := remote.ReadKey(path)
	if err != nil {
		return "", "", err
	}
	next := remote.Agent{ID: id, Key: key}
	if c.ToDPoPKey != "" {
		if next.Prover, err = remote.ReadProver(c.ToDPoPKey, true, a.now); err != nil {
			return "", "", err
		}
	}
	secret, err := next.ActorToken(a.Issuer, a.now())
	return secret.Reveal(), client.TypeJWT, err
}

func (c exchangeCommand) overGRPC(ctx context.Context, a *app, who agent, prover *dpop.Prover, req *obov1.ExchangeRequest) (
	resp *obov1.ExchangeResponse, err error) {
	err = a.ask(ctx, who, prover, obov1.ExchangeService_Exchange_FullMethodName,
		func(ctx context.Context, sts *remote.STS, opts ...grpc.CallOption) (err error) {
			if req.ActorToken, req.ActorTokenType, err = c.actorToken(ctx, a); err != nil {
				return err
			}
			resp, err = sts.Exchange.Exchange(ctx, req, opts...)
			return err
		})
	return resp, err
}

func (c exchangeCommand) overHTTP(ctx context.Context, a *app, who agent, prover *dpop.Prover, req *obov1.ExchangeRequest) (
	*obov1.ExchangeResponse, error) {
	door, err := a.overHTTP(ctx, who, prover)
	if err != nil {
		return nil, err
	}
	r := client.Request{Grant: req.GetGrantType(), SubjectType: req.GetSubjectTokenType(), Resource: req.GetResource(),
		Audience: req.GetAudience(), Scope: req.GetScope(), RequestedType: req.GetRequestedTokenType(), MayAct: req.GetMayAct(),
		AuthorizationDetails: req.GetAuthorizationDetails(), Life: time.Duration(req.GetRequestedExpiresIn()) * time.Second}
	if req.GetSubjectToken() != "" {
		r.Subject = client.Static(req.GetSubjectToken())
	}
	if req.GetAssertion() != "" {
		r.Assertion = client.Static(req.GetAssertion())
	}
	if c.To != "" || c.ActorTokenFile != "" {
		r.ActorType = tokenTypeURN + c.ActorTokenType
		r.Actor = client.SourceFunc(func(ctx context.Context) (string, error) {
			token, _, err := c.actorToken(ctx, a)
			return token, err
		})
	}
	t, err := door.Exchange(ctx, r)
	if err != nil {
		return nil, err
	}
	return &obov1.ExchangeResponse{AccessToken: t.AccessToken, IssuedTokenType: t.IssuedType, TokenType: t.Type, Scope: t.Scope,
		ExpiresIn: int32(time.Until(t.Expiry).Round(time.Second).Seconds()), ActionId: t.ActionID,
		AuthorizationDetails: t.AuthorizationDetails}, nil
}
