package main

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type introspectCommand struct {
	tokenFlags
	agentFlags
	Signed bool `help:"Get the answer as a signed JWT (RFC 9701)."`
}

// Help is shown below the flags.
func (introspectCommand) Help() string {
	return `Asks as a resource server's own agent (RFC 7662): the org registers which agents may introspect the tokens for a resource.
A token that is not good, or not the agent's business, is "active": false and nothing else.

Examples:
  obo token introspect --as resource-server --file second
  obo token introspect --as resource-server --file second --signed`
}

func (c introspectCommand) Run(ctx context.Context, a *app) error {
	who, err := c.find(a)
	if err != nil {
		return err
	}
	token, err := c.read(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	var resp *obov1.IntrospectResponse
	err = a.ask(ctx, who, nil, obov1.ExchangeService_Introspect_FullMethodName,
		func(ctx context.Context, sts *remote.STS, opts ...grpc.CallOption) (err error) {
			resp, err = sts.Exchange.Introspect(ctx, &obov1.IntrospectRequest{Token: token.Reveal(), Signed: c.Signed}, opts...)
			return err
		})
	if err != nil {
		return explain.Of("cannot introspect the token", err)
	}
	if c.Signed {
		return a.Print(map[string]string{"jwt": resp.GetJwt()}, func() { a.Printf("%s\n", resp.GetJwt()) })
	}
	var claims map[string]any
	if err := json.Unmarshal([]byte(resp.GetClaims()), &claims); err != nil {
		return explain.Failure("the token server's answer is no JSON", err, "")
	}
	return a.Print(claims, func() {
		data, _ := json.MarshalIndent(claims, "", "  ")
		a.Printf("%s\n", data)
	})
}

type revokeTokenCommand struct {
	tokenFlags
	agentFlags
}

// Help is shown below the flags.
func (revokeTokenCommand) Help() string {
	return `Revokes a token that was issued to the agent (RFC 7009), and with it every token that was derived from it. A token that is
dead already is no error. obo revoke is the operator's way, for agents, users and whole orgs.

Examples:
  obo token revoke --file first
  obo token revoke --as researcher --file second`
}

func (c revokeTokenCommand) Run(ctx context.Context, a *app) error {
	who, err := c.find(a)
	if err != nil {
		return err
	}
	token, err := c.read(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	err = a.ask(ctx, who, nil, obov1.ExchangeService_RevokeToken_FullMethodName,
		func(ctx context.Context, sts *remote.STS, opts ...grpc.CallOption) error {
			_, err := sts.Exchange.RevokeToken(ctx, &obov1.RevokeTokenRequest{Token: token.Reveal()}, opts...)
			return err
		})
	if err != nil {
		p := explain.Of("cannot revoke the token", err)
		if p.Reason == "INVALID_GRANT" {
			p.Do = "ask as the client that it was issued to, or as the agent that acts by it (--as or --client-id)"
		}
		return p
	}
	return a.Print(map[string]bool{"revoked": true}, func() { a.Printf("revoked, and every token derived from it\n") })
}
