package main

import (
	"context"
	"strings"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

type exchangeCommand struct {
	As               string `default:"orchestrator" placeholder:"NAME" help:"Which agent asks: its OBO_NAME_ID, _SECRET and _KEY are taken. orchestrator, researcher or org2-agent in a dev environment."`
	ClientID         string `placeholder:"ID" help:"The client's id instead, such as acme.orchestrator."`
	ClientSecretFile string `placeholder:"FILE" help:"File with its client_secret, - for standard input."`
	ClientKey        string `placeholder:"FILE" help:"Private JWK to authenticate with in place of a secret (private_key_jwt)."`

	SubjectTokenFile string   `default:"-" from:"OBO_USER_TOKEN_FILE" placeholder:"FILE" help:"File with the subject token, - for standard input (OBO_USER_TOKEN_FILE)."`
	SubjectTokenType string   `enum:"auto,id_token,jwt,access_token" default:"auto" help:"id_token, jwt or access_token. auto looks at the token."`
	To               string   `placeholder:"NAME" help:"Hand on to this agent: makes its assertion from OBO_NAME_ID and _KEY."`
	ActorTokenFile   string   `placeholder:"FILE" help:"File with the next agent's own assertion or token."`
	ActorTokenType   string   `enum:"jwt,access_token" default:"jwt" help:"jwt or access_token."`
	Scope            string   `placeholder:"SCOPES" help:"Space-separated. Absent: all that policy allows."`
	Resource         []string `placeholder:"URI" from:"OBO_EXECUTOR_AUDIENCE" help:"What the token is for (OBO_EXECUTOR_AUDIENCE)."`
	Audience         []string `placeholder:"NAME" help:"The same by its registered name."`
	ExpiresIn        int32    `placeholder:"SECONDS" help:"A shorter life than the default."`
	MayAct           string   `placeholder:"CLIENT" help:"The one client that may pick the new token up."`
	HTTP             bool     `name:"http" help:"Use the standard's own door, a form post, instead of gRPC."`
}

// Help is shown below the flags.
func (exchangeCommand) Help() string {
	return `Standard output gets the token alone, so that it can go into a file; --output json gets the whole answer.

Examples:
  obo exchange --subject-token-file "$OBO_USER_TOKEN_FILE" --scope "tracker:issues:read" > first
  obo exchange --subject-token-file first --to researcher --scope "tracker:issues:read" > second
  obo exchange --as org2-agent --subject-token-file alice-of-globex.token -o json`
}

func (c exchangeCommand) Run(ctx context.Context, a *app) error {
	req, err := c.request(a)
	if err != nil {
		return err
	}
	id, secret, key, err := c.client(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	var resp *obov1.ExchangeResponse
	if c.HTTP {
		resp, err = c.overHTTP(ctx, a, id, secret, req)
	} else {
		resp, err = c.overGRPC(ctx, a, id, secret, key, req)
	}
	if err != nil {
		return explain.Of("the exchange was refused", err)
	}
	return a.Print(resp, func() { a.Printf("%s\n", resp.GetAccessToken()) })
}

// client finds who asks. key is a file; it is used when there is no secret.
func (c exchangeCommand) client(a *app) (id string, secret telemetry.Secret, key string, err error) {
	if c.ClientID == "" {
		prefix := agentPrefix(c.As)
		id, _ = a.env(prefix + "_ID")
		s, _ := a.env(prefix + "_SECRET")
		key, _ = a.env(prefix + "_KEY")
		if id == "" || s == "" && key == "" {
			return "", "", "", explain.Misuse("the client is not known", prefix+"_ID with _SECRET or _KEY is not set",
				"point --env to the file that obo dev wrote, or give --client-id with --client-secret-file or --client-key")
		}
		return id, telemetry.Secret(s), key, nil
	}
	if c.ClientSecretFile != "" {
		secret, err = remote.ReadSecret(c.ClientSecretFile, a.in)
	} else if c.ClientKey == "" {
		err = explain.Misuse("the client cannot authenticate", "neither --client-secret-file nor --client-key is given", "give one")
	}
	return c.ClientID, secret, c.ClientKey, err
}

// agentPrefix is the name of an agent's variables: org2-agent is OBO_ORG2_AGENT.
func agentPrefix(name string) string {
	return "OBO_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// request builds the request from the flags.
func (c exchangeCommand) request(a *app) (*obov1.ExchangeRequest, error) {
	subject, err := remote.ReadSecret(c.SubjectTokenFile, a.in)
	if err != nil {
		return nil, err
	}
	req := &obov1.ExchangeRequest{SubjectToken: subject.Reveal(), Scope: c.Scope, Resource: c.Resource, Audience: c.Audience,
		RequestedExpiresIn: c.ExpiresIn, MayAct: c.MayAct}
	if len(c.Audience) > 0 {
		req.Resource = nil // together they name one target; the flag on the command line is the one that is meant
	}
	if req.SubjectTokenType, err = c.subjectType(a, subject); err != nil {
		return nil, err
	}
	actor, err := c.actorToken(a)
	if err != nil || actor == "" {
		return req, err
	}
	req.ActorToken, req.ActorTokenType = actor.Reveal(), "urn:ietf:params:oauth:token-type:"+c.ActorTokenType
	return req, nil
}

func (c exchangeCommand) subjectType(a *app, subject telemetry.Secret) (string, error) {
	if c.SubjectTokenType != "auto" {
		return "urn:ietf:params:oauth:token-type:" + c.SubjectTokenType, nil
	}
	t, err := render.ParseToken(subject.Reveal())
	if err != nil {
		return "", explain.Failure("cannot tell the type of the subject token", err, "give --subject-token-type")
	}
	if t.Header["typ"] == "at+jwt" && (a.Issuer == "" || t.Issuer == a.Issuer) {
		return remote.TypeAccessToken, nil
	}
	return remote.TypeIDToken, nil
}

// actorToken is the next agent's proof: read from a file, or made from its key.
func (c exchangeCommand) actorToken(a *app) (telemetry.Secret, error) {
	if c.ActorTokenFile != "" {
		return remote.ReadSecret(c.ActorTokenFile, a.in)
	}
	if c.To == "" {
		return "", nil
	}
	prefix := agentPrefix(c.To)
	id, _ := a.env(prefix + "_ID")
	path, _ := a.env(prefix + "_KEY")
	if id == "" || path == "" {
		return "", explain.Misuse("cannot make the assertion of "+c.To, prefix+"_ID and _KEY are not both set",
			"point --env to the file that obo dev wrote, or give --actor-token-file")
	}
	return a.assertion(path, id)
}

// assertion makes a fresh assertion of a client by its own key.
func (a *app) assertion(keyFile, id string) (telemetry.Secret, error) {
	if a.Issuer == "" {
		return "", missing("the token server's issuer", "--issuer", "OBO_ISSUER")
	}
	key, err := remote.ReadKey(keyFile)
	if err != nil {
		return "", err
	}
	return remote.Assertion(key, id, id, a.Issuer, a.now())
}

func (c exchangeCommand) overGRPC(ctx context.Context, a *app, id string, secret telemetry.Secret, key string,
	req *obov1.ExchangeRequest) (*obov1.ExchangeResponse, error) {
	sts, err := a.sts()
	if err != nil {
		return nil, err
	}
	defer sts.Conn.Close()
	if secret != "" {
		return sts.Exchange.Exchange(remote.Basic(ctx, id, secret), req)
	}
	assertion, err := a.assertion(key, id)
	if err != nil {
		return nil, err
	}
	return sts.Exchange.Exchange(remote.Bearer(ctx, assertion), req)
}

func (c exchangeCommand) overHTTP(ctx context.Context, a *app, id string, secret telemetry.Secret, req *obov1.ExchangeRequest) (
	*obov1.ExchangeResponse, error) {
	if a.Issuer == "" {
		return nil, missing("the token server's issuer", "--issuer", "OBO_ISSUER")
	}
	if secret == "" {
		return nil, explain.Misuse("--http needs a client secret", "only a key was given", "use gRPC with --client-key, or give a secret")
	}
	client := remote.NewHTTP(1)
	m, err := client.Metadata(ctx, a.Issuer)
	if err != nil {
		return nil, explain.Of("cannot read the token server's metadata", err)
	}
	return client.Exchange(ctx, m.TokenEndpoint, id, secret, remote.Form(req))
}
