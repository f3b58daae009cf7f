package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/delegation"
)

type tokenCommand struct {
	Inspect    inspectCommand     `cmd:"" help:"Show what a token says, unverified."`
	Verify     verifyCommand      `cmd:"" help:"Verify a delegation token as a resource server would."`
	Introspect introspectCommand  `cmd:"" help:"Ask the token server whether a token is good."`
	Revoke     revokeTokenCommand `cmd:"" help:"Revoke a token of one's own, and all that was derived from it."`
}

type inspectCommand struct {
	tokenFlags
	Claims bool `help:"Show all claims as JSON too."`
}

// Help is shown below the flags.
func (inspectCommand) Help() string {
	return `Nothing is verified: this is for looking, not for deciding.

Examples:
  obo token inspect --file second
  obo exchange --subject-token-file first --to researcher | obo token inspect`
}

func (c inspectCommand) Run(a *app) error {
	token, err := c.read(a)
	if err != nil {
		return err
	}
	t, err := render.ParseToken(token.Reveal())
	if err != nil {
		return explain.Failure("this is no token that can be shown", err, "give a JWT: three base64url parts with dots between")
	}
	return a.Print(t, func() {
		a.Token("", t, a.now())
		a.Printf("%-8s typ %s, alg %s, kid %s\n", "header", render.Clean(t.Header["typ"]), render.Clean(t.Header["alg"]),
			render.Clean(t.Header["kid"]))
		a.Printf("%s\n", a.Dim("not verified: obo token verify does that"))
		if c.Claims {
			var pretty any
			if json.Unmarshal(t.Claims, &pretty) == nil {
				data, _ := json.MarshalIndent(pretty, "", "  ")
				a.Printf("%s\n", data)
			}
		}
	})
}

type verifyCommand struct {
	tokenFlags
	Audience string `from:"OBO_EXECUTOR_AUDIENCE" placeholder:"URI" help:"Who the token must be for (OBO_EXECUTOR_AUDIENCE)."`
	JWKS     string `name:"jwks-url" placeholder:"URL" help:"The issuer's keys. Default: as its metadata says."`
}

// Help is shown below the flags.
func (verifyCommand) Help() string {
	return `Checks signature, type, issuer, audience, times and chain, with the issuer's published keys alone. Revocation is known
to those who follow the feed, such as the executor, and is not checked here.

Examples:
  obo token verify --file second
  obo token verify --file second --issuer https://sts.example --audience https://executor.example`
}

func (c verifyCommand) Run(ctx context.Context, a *app) error {
	token, err := c.read(a)
	if err != nil {
		return err
	}
	if a.Issuer == "" {
		return missing("the issuer", "--issuer", "OBO_ISSUER")
	}
	if c.Audience == "" {
		return missing("the audience", "--audience", "OBO_EXECUTOR_AUDIENCE")
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	url := c.JWKS
	if url == "" {
		m, err := a.metadata(ctx)
		if err != nil {
			return err
		}
		url = m.JWKSURI
	}
	keys, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: url, Now: a.now})
	if err != nil {
		return explain.Failure("cannot use the issuer's keys at "+url, err, "")
	}
	verifier, err := delegation.NewVerifier(delegation.VerifierConfig{Issuer: a.Issuer, Audience: c.Audience, Keys: keys,
		Revocations: delegation.NoRevocations, Now: a.now, Remember: -1})
	if err != nil {
		return explain.Failure("cannot verify", err, "")
	}
	verified, err := verifier.Verify(ctx, token.Reveal())
	if err != nil {
		p := explain.Failure("the token does not verify", err, "obo token inspect shows what it says")
		p.Code = explain.Refused
		return p
	}
	claims := verified.Claims()
	view := map[string]any{"verified": true, "subject": claims.Subject, "org_id": string(claims.OrgID), "chain": claims.Chain(),
		"scope": claims.Scope.List(), "expires": claims.Expiry, "token_id": claims.ID, "revocation_checked": false}
	return a.Print(view, func() {
		a.Printf("%s: signed by %s, for %s\n", a.Green("verified"), render.Clean(claims.Issuer), render.Clean(claims.Audience))
		a.Tree("", claims.Subject, claims.Chain())
		a.Printf("%-8s %s\n", "scope", strings.Join(claims.Scope.List(), " "))
		a.Printf("%-8s %s\n", "expires", claims.Expiry.Format(time.RFC3339))
		a.Printf("%s\n", a.Dim("revocation is not checked here"))
	})
}
