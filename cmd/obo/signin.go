package main

import (
	"context"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type signInCommand struct {
	TokenFile string `required:"" placeholder:"FILE" help:"File with an ID token for the audience that is for signing in, or with a workload's token; - for standard input."`
	Operator  bool   `help:"Sign in to operate the server, not an org."`
}

// Help is shown below the flags.
func (signInCommand) Help() string {
	return `Prints an administrator's token, which lives at most 15 minutes. Other commands take it in place of the operator's credential:
--admin-token-file, or OBO_ADMIN_TOKEN_FILE. Who may sign in is in the org's configuration, administrators.

Examples:
  obo sign-in --org acme --token-file id.token > admin.token
  obo agents list --org acme --admin-token-file admin.token
  obo sign-in --org acme --token-file /var/run/secrets/tokens/obo > admin.token`
}

func (c signInCommand) Run(ctx context.Context, a *app) error {
	req := &obov1.SignInRequest{}
	if !c.Operator {
		org, err := a.org()
		if err != nil {
			return err
		}
		req.OrgId = org
	}
	login, err := remote.ReadSecret(c.TokenFile, a.in)
	if err != nil {
		return err
	}
	sts, err := a.sts()
	if err != nil {
		return err
	}
	defer sts.Conn.Close()
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	req.Token = login.Reveal()
	resp, err := obov1.NewSignInServiceClient(sts.Conn).SignIn(ctx, req)
	if err != nil {
		return explain.Of("cannot sign in", err)
	}
	a.progress("signed in")(resp.GetSubject() + " as " + resp.GetRole() + " until " + resp.GetExpires().AsTime().Local().Format(time.TimeOnly))
	return a.Print(resp, func() { a.Printf("%s\n", resp.GetToken()) })
}
