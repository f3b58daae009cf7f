package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/cmd/obo/internal/session"
	"github.com/onbehalf/obo/cmd/obo/internal/signin"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

// home says whose administrator somebody is.
type home struct {
	Org      string `arg:"" optional:"" help:"The org; --org or OBO_ORG when absent."`
	Operator bool   `help:"The server itself, not an org: for those who operate it."`
}

// of is the org; empty for the server itself.
func (h home) of(a *app) (string, error) {
	switch {
	case h.Operator && h.Org != "":
		return "", explain.Misuse("an operator is of no org", "--operator and "+h.Org+" were both given", "leave one out")
	case h.Operator:
		return "", nil
	case h.Org != "":
		return h.Org, nil
	}
	return a.org()
}

// words are the same on a command line.
func words(org string) string {
	return cmp.Or(org, "--operator")
}

type loginCommand struct {
	home
	OIDCIssuer   string        `name:"oidc-issuer" from:"OBO_LOGIN_ISSUER" placeholder:"URL" help:"The OpenID provider at which you sign in (OBO_LOGIN_ISSUER). Remembered."`
	ClientID     string        `from:"OBO_LOGIN_CLIENT_ID" placeholder:"ID" help:"The client id there that is for signing in to administer (OBO_LOGIN_CLIENT_ID). Remembered."`
	Scope        []string      `sep:" " placeholder:"SCOPE" help:"What to ask for besides openid, such as groups. Remembered."`
	RedirectPort int           `placeholder:"PORT" help:"Port of the redirect URI http://127.0.0.1:PORT/callback, for a provider that compares it. Default: any."`
	NoBrowser    bool          `help:"Open no browser, only print the URL."`
	Within       time.Duration `default:"5m" help:"How long you may take in the browser."`
	TokenFile    string        `placeholder:"FILE" help:"Without a browser: a file with an ID token, or with a workload's token; - for standard input."`
	Print        bool          `help:"Print the token and keep nothing, for a script."`
}

// Help is shown below the flags.
func (loginCommand) Help() string {
	return `Signs you in as an administrator by your browser, and keeps the token, which lives at most 15 minutes, where you alone can
read it. Other commands take it when there is neither --admin-token-file nor OBO_ADMIN_TOKEN_FILE. Who may sign in is in the org's
configuration, administrators. --oidc-issuer and --client-id come from whoever wrote that, and are needed once.

Examples:
  obo login acme --oidc-issuer https://login.acme.example --client-id obo-admin --scope groups
  obo login acme
  obo login --operator
  obo login acme --token-file /var/run/secrets/tokens/obo --print > admin.token`
}

func (c loginCommand) Run(ctx context.Context, a *app) error {
	org, err := c.of(a)
	if err != nil {
		return err
	}
	sts, err := a.sts()
	if err != nil {
		return err
	}
	defer sts.Conn.Close()
	store, err := session.Open(a.env)
	if err != nil && !c.Print {
		return err
	}
	var before session.Session
	if err == nil {
		if before, _, err = store.Load(a.STS, org); err != nil {
			return err
		}
	}
	now := session.Session{Server: a.STS, Org: org, Provider: before.Provider}
	proof, err := c.proof(ctx, a, &now)
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	resp, err := obov1.NewSignInServiceClient(sts.Conn).SignIn(short, &obov1.SignInRequest{OrgId: org, Token: proof.Reveal()})
	if err != nil {
		return explain.Of("cannot sign in", err)
	}
	now.Token, now.Expires = telemetry.Secret(resp.GetToken()), resp.GetExpires().AsTime()
	now.Subject, now.Role = resp.GetSubject(), resp.GetRole()
	if c.Print {
		return a.Print(resp, func() { a.Printf("%s\n", resp.GetToken()) })
	}
	if err := store.Save(now, a.now()); err != nil {
		return explain.Failure("cannot keep the login", err, "it goes below XDG_STATE_HOME or ~/.local/state; "+
			"--print prints it instead")
	}
	if a.AdminTokenFile != "" {
		fmt.Fprintf(a.err, "OBO_ADMIN_TOKEN_FILE or --admin-token-file is set, and goes before this login: leave it out\n")
	}
	return a.showWho(known(now))
}

// proof is what shows who signs in: what a file holds, or an ID token that the browser brings.
func (c loginCommand) proof(ctx context.Context, a *app, s *session.Session) (telemetry.Secret, error) {
	if c.TokenFile != "" {
		return remote.ReadSecret(c.TokenFile, a.in)
	}
	p := &s.Provider
	p.Issuer, p.ClientID = cmp.Or(c.OIDCIssuer, p.Issuer), cmp.Or(c.ClientID, p.ClientID)
	if len(c.Scope) > 0 {
		p.Scopes = c.Scope
	}
	if p.Issuer == "" {
		return "", missing("where you sign in", "--oidc-issuer", "OBO_LOGIN_ISSUER")
	}
	if p.ClientID == "" {
		return "", missing("the client id for signing in", "--client-id", "OBO_LOGIN_CLIENT_ID")
	}
	return signin.IDToken(ctx, *p, signin.Browser{Port: c.RedirectPort, Within: c.Within, Show: func(url string) {
		if !c.NoBrowser && signin.Open(ctx, url, a.env) == nil {
			fmt.Fprintf(a.err, "Your browser should open. If it does not, go to\n\n")
		} else {
			fmt.Fprintf(a.err, "Sign in with a browser on this machine, at\n\n")
		}
		fmt.Fprintf(a.err, "  %s\n\n", url)
	}})
}

type logoutCommand struct{ home }

// Help is shown below the flags.
func (logoutCommand) Help() string {
	return `Revokes the token at the server and forgets it. Where you sign in stays known, for the next login.

Examples:
  obo logout acme
  obo logout --operator`
}

func (c logoutCommand) Run(ctx context.Context, a *app) error {
	org, err := c.of(a)
	if err != nil {
		return err
	}
	sts, err := a.sts()
	if err != nil {
		return err
	}
	defer sts.Conn.Close()
	store, err := session.Open(a.env)
	if err != nil {
		return err
	}
	s, _, err := store.Load(a.STS, org)
	if err != nil {
		return err
	}
	if s.Token == "" {
		return a.Print(map[string]any{"logged_out": false}, func() { a.Printf("nobody was logged in\n") })
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	_, revoked := obov1.NewSignInServiceClient(sts.Conn).SignOut(ctx, &obov1.SignOutRequest{Token: s.Token.Reveal()})
	// It is forgotten in any case: who logs out is about to go away.
	if err := store.Save(session.Session{Server: s.Server, Org: s.Org, Provider: s.Provider}, a.now()); err != nil {
		return explain.Failure("cannot forget the login", err, "delete the files in obo/logins below XDG_STATE_HOME or ~/.local/state")
	}
	if revoked != nil && s.Expires.After(a.now()) {
		p := explain.Of("the token is forgotten here, and was not revoked", revoked)
		p.Why += "; it ends at " + s.Expires.Local().Format(time.TimeOnly)
		return p
	}
	return a.Print(map[string]any{"logged_out": true, "subject": s.Subject}, func() {
		a.Printf("%s %s\n", a.Green("logged out"), render.Clean(s.Subject))
	})
}

type whoamiCommand struct{}

// Help is shown below the flags.
func (whoamiCommand) Help() string {
	return `Says whose credential the other commands would present. The server is not asked.

Examples:
  obo whoami
  obo whoami --org acme -o json`
}

func (whoamiCommand) Run(a *app) error {
	if a.AdminTokenFile != "" {
		token, err := remote.ReadSecret(a.AdminTokenFile, nil)
		if err != nil {
			return err
		}
		return a.showWho(read(token, a.STS, a.AdminTokenFile))
	}
	s, err := a.session()
	if err != nil {
		return err
	}
	return a.showWho(known(s))
}

// who is somebody who administers.
type who struct {
	Subject string     `json:"subject"`
	Role    string     `json:"role"`
	Org     string     `json:"org_id,omitempty"` // empty: the server
	Server  string     `json:"server"`
	Expires *time.Time `json:"expires,omitempty"` // nil: never
	From    string     `json:"from"`              // "login", or the name of a file
}

func known(s session.Session) who {
	return who{s.Subject, s.Role, s.Org, s.Server, &s.Expires, "login"}
}

// read looks into a file's credential. What is no administrator's token is taken for the operator's credential.
func read(token telemetry.Secret, server, file string) who {
	t, err := render.ParseToken(token.Reveal())
	if err != nil || t.Header["typ"] != "admin+jwt" {
		return who{Subject: "operator:credential", Role: "operator", Server: server, From: file}
	}
	return who{t.Subject, t.Role, strings.TrimPrefix(t.Org, "_platform"), server, &t.Expiry, file}
}

func (a *app) showWho(w who) error {
	return a.Print(w, func() {
		a.Printf("%s\n", a.Bold(render.Clean(w.Subject)))
		rows := [][]string{
			{"  role", render.Clean(w.Role)}, {"  org", render.Clean(cmp.Or(w.Org, "(the server itself)"))},
			{"  server", cmp.Or(w.Server, "-")},
		}
		if w.Expires != nil {
			left := w.Expires.Sub(a.now()).Round(time.Second)
			rows = append(rows, []string{"  expires", w.Expires.Local().Format(time.DateTime) + fmt.Sprintf(" (in %s)", left)})
		}
		a.Table(append(rows, []string{"  from", render.Clean(w.From)}))
	})
}

// session is the login that a command uses: that of its org, or else the operator's.
func (a *app) session() (session.Session, error) {
	nobody := explain.Misuse("who you are is not known",
		"there is no login, and neither --admin-token-file nor OBO_ADMIN_TOKEN_FILE is set", "obo login ORG, obo login --operator, or set one of them")
	if a.STS == "" {
		return session.Session{}, nobody // a login is of a token server
	}
	store, err := session.Open(a.env)
	if err != nil {
		return session.Session{}, nobody
	}
	var ended *explain.Problem
	for _, org := range []string{a.DefaultOrg, ""} {
		s, ok, err := store.Load(a.STS, org)
		switch {
		case err != nil:
			return session.Session{}, err
		case !ok || s.Token == "":
		case s.Expires.After(a.now()):
			return s, nil
		case ended == nil:
			ended = &explain.Problem{What: "your login is over", Code: explain.Refused, Do: "obo login " + words(org),
				Why: fmt.Sprintf("that of %s at %s ended at %s", render.Clean(s.Subject), a.STS, s.Expires.Local().Format(time.DateTime))}
		}
	}
	return session.Session{}, cmp.Or(ended, nobody)
}
