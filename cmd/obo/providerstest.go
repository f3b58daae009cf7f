package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/cmd/obo/internal/signin"
	"github.com/onbehalf/obo/cmd/obo/internal/trial"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/vault"
)

type providersTestCommand struct {
	Name    string `arg:"" help:"Name of the provider, such as github."`
	File    string `placeholder:"FILE" help:"File with the record, instead of the built-in one."`
	Pattern string `placeholder:"PATTERN" help:"oauth, service_account, api_key, basic or developer_secret. Default: the record's first of these."`

	ClientID         string `placeholder:"ID" help:"The client's id at the provider. For oauth."`
	ClientSecretFile string `placeholder:"FILE" help:"File with the client's secret; standard input when it is needed and not named. For oauth."`
	RedirectPort     int    `default:"8765" placeholder:"PORT" help:"Port of the redirect URI http://127.0.0.1:PORT/callback, which the client's registration at the provider must have. For oauth."`
	SecretFile       string `default:"-" placeholder:"FILE" help:"File with the key or password, - for standard input. For api_key, basic and developer_secret."`
	Username         string `placeholder:"NAME" help:"The user name of basic, or what a service account is called when its key file does not say."`
	KeyFile          string `default:"-" placeholder:"FILE" help:"File with the service account's key or secret, as the provider hands it out, - for standard input. For service_account."`

	Setting map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"A setting of the record. May be repeated."`
	Scope   []string          `placeholder:"SCOPE" help:"A scope of the record to ask for. May be repeated. Default: those of the tool; without a tool, all."`
	Tool    string            `placeholder:"TOOL" help:"The tool to call; its risk must be read. Default: the first that needs no arguments."`
	Args    string            `placeholder:"JSON" help:"Arguments of the tool, or @FILE."`

	Rotation      bool          `help:"Send the old refresh token once more after a refresh. The provider may take that for theft and end the grant."`
	Keep          bool          `help:"Do not revoke the grant at the end. At some providers a revocation ends every grant of yours to that client."`
	NoBrowser     bool          `help:"Open no browser, only print the URL."`
	Within        time.Duration `default:"5m" help:"How long you may take in the browser."`
	AllowLoopback bool          `help:"The provider may be on this machine, for development."`
}

// Help is shown below the flags.
func (providersTestCommand) Help() string {
	return `Goes through a record's life at the live provider with credentials of yours, on this machine and without an executor: authorize,
exchange, probe, a tool that only reads, refresh, revoke, and whether a revoked grant is understood as one; of a service account
mint, probe and tool; of a key probe and tool. Each step says what was seen, and never a secret. When one fails, the exit code is 1,
and what is to be pasted into an issue follows: names, statuses, error codes and the form of the answer, without its values.

For oauth, register a client at the provider with the redirect URI http://127.0.0.1:8765/callback first; obo providers show NAME says
where. Use a client and an account for tests: the grant is revoked at the end, unless --keep is given.

Examples:
  obo providers test github --client-id Iv1.0123 --client-secret-file secret
  obo providers test zendesk --pattern basic --setting subdomain=acme --username me@acme.example --secret-file key
  obo providers test google --pattern service_account --key-file key.json --tool list_files
  obo providers test tracker --file tracker.yaml --client-id abc --rotation -o json`
}

func (c providersTestCommand) Run(ctx context.Context, a *app) error {
	t, err := c.trial(a)
	if err != nil {
		return err
	}
	if t.Pattern == connection.OAuth {
		browser, err := signin.Listen(ctx, c.RedirectPort)
		if err != nil {
			return err
		}
		defer browser.Close()
		t.Browser = browser
		fmt.Fprintf(a.err, "The client must be registered with the redirect URI %s\n", browser.RedirectURI())
	}
	t.Open = func(url string) {
		if !c.NoBrowser && signin.Open(ctx, url, a.env) == nil {
			fmt.Fprintf(a.err, "Your browser should open. If it does not, go to\n\n  %s\n\n", url)
		} else {
			fmt.Fprintf(a.err, "Grant access with a browser on this machine, at\n\n  %s\n\n", url)
		}
	}
	t.Show = func(s trial.Step) {
		if !a.JSON {
			a.showStep(s)
		}
	}
	steps := t.Run(ctx)
	report := t.Report(steps, trial.Origin{Builtin: c.File == "", Version: daemon.Version()})
	if err := a.Print(map[string]any{
		"provider": t.Provider.Name(), "digest": t.Provider.Digest(), "pattern": t.Pattern, "steps": steps, "report": report,
	}, func() {
		if report != "" {
			a.Printf("\n%s\n\n%s\n%s\n", a.Bold("---- Paste this into an issue ----"), cleanLines(report), a.Bold("---- end ----"))
		}
	}); err != nil {
		return err
	}
	failed := len(slices.DeleteFunc(slices.Clone(steps), func(s trial.Step) bool { return s.Status != trial.Failed }))
	switch {
	case ctx.Err() != nil:
		return &explain.Problem{What: "interrupted", Why: "a grant that was given is not revoked", Code: explain.Interrupted,
			Do: "take the access away at the provider"}
	case failed == 0:
		return nil
	}
	return &explain.Problem{What: fmt.Sprintf("%d of %d steps failed", failed, len(steps)), Code: explain.Failed,
		Why: "the record, the client's registration or the credential is not as the provider wants it",
		Do:  "check the registration and the credential; if they are in order, paste what standard output says into an issue"}
}

// cleanLines is render.Clean for a text of several lines.
func cleanLines(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, l := range lines {
		lines[i] = render.Clean(l)
	}
	return strings.Join(lines, "\n") + "\n"
}

func (a *app) showStep(s trial.Step) {
	status := map[trial.Status]string{
		trial.OK: a.Green("ok      "), trial.Failed: a.Red("FAILED  "), trial.Skipped: a.Dim("skipped "),
	}[s.Status]
	a.Printf("%s%s\n", status, a.Bold(s.Name))
	for _, line := range s.Seen {
		a.Printf("          %s\n", render.Clean(line))
	}
	if s.Status == trial.Failed {
		a.Printf("          understood: %s\n          expected: %s\n", render.Clean(s.Understood), render.Clean(s.Expected))
	}
}

// trial is what the flags ask for.
func (c providersTestCommand) trial(a *app) (trial.Trial, error) {
	p, err := c.record()
	if err != nil {
		return trial.Trial{}, err
	}
	t := trial.Trial{Provider: p, Reuse: c.Rotation, Keep: c.Keep, Within: c.Within, Now: a.now}
	var private []netip.Prefix
	if c.AllowLoopback {
		private = egress.Loopback()
	}
	t.HTTP = egress.NewClient(egress.Config{AllowPrivate: private, Timeout: a.Timeout, MaxResponse: connection.MaxAnswer})
	if t.Pattern, err = c.pattern(p); err != nil {
		return t, err
	}
	if err := c.settings(p, t.Pattern); err != nil {
		return t, err
	}
	t.Client = connection.Client{ID: c.ClientID, Settings: c.Setting}
	if err := c.choose(&t); err != nil {
		return t, err
	}
	return t, c.credentials(a, &t)
}

func (c providersTestCommand) record() (connection.Provider, error) {
	const do = "obo providers list shows those that there are; --file takes a record of your own"
	if c.File == "" {
		all := connection.Builtin()
		i := slices.IndexFunc(all, func(p connection.Provider) bool { return p.Name() == c.Name })
		if i < 0 {
			return connection.Provider{}, &explain.Problem{What: "there is no built-in provider " + render.Clean(c.Name), Code: explain.Failed, Do: do}
		}
		return all[i], nil
	}
	p, wrong := readRecord(c.File)
	switch {
	case len(wrong) > 0:
		return p, &explain.Problem{What: c.File + " cannot be used", Why: render.Clean(wrong[0]), Code: explain.Failed,
			Do: "obo providers lint " + c.File}
	case p.Name() != c.Name:
		return p, explain.Misuse("the record is another provider's", c.File+" is of "+p.Name(),
			"obo providers test "+p.Name()+" --file "+c.File)
	}
	return p, nil
}

func (c providersTestCommand) pattern(p connection.Provider) (connection.Pattern, error) {
	all := []connection.Pattern{
		connection.OAuth, connection.ServiceAccount, connection.APIKey, connection.Basic, connection.DeveloperSecret,
	}
	all = slices.DeleteFunc(all, func(pattern connection.Pattern) bool { return !p.Supports(pattern) })
	if c.Pattern == "" {
		return all[0], nil // a record has one at least
	}
	if !slices.Contains(all, connection.Pattern(c.Pattern)) {
		return "", explain.Misuse("the record has no pattern "+render.Clean(c.Pattern), p.Name()+" has "+patterns(p.Summary()),
			"choose one of these")
	}
	return connection.Pattern(c.Pattern), nil
}

// settings holds those that were given against the record.
func (c providersTestCommand) settings(p connection.Provider, pattern connection.Pattern) error {
	of := map[bool]map[string]string{false: {}, true: {}}
	for name, value := range c.Setting {
		user := slices.ContainsFunc(p.Settings(true), func(s connection.Setting) bool { return s.Name == name })
		of[user][name] = value
		if !user && !slices.ContainsFunc(p.Settings(false), func(s connection.Setting) bool { return s.Name == name }) {
			return explain.Misuse("the record has no setting "+render.Clean(name)+" to be said", "", "obo providers show "+p.Name()+" lists them")
		}
	}
	if pattern != connection.OAuth {
		return nil // which of them it needs shows where they are filled in
	}
	for user, values := range of {
		if err := p.CheckSettings(user, values); err != nil {
			return explain.Misuse("a setting is missing or not good", strings.TrimPrefix(err.Error(), "connection: "),
				"--setting NAME=VALUE says one")
		}
	}
	return nil
}

// choose finds the tool and the scopes.
func (c providersTestCommand) choose(t *trial.Trial) error {
	raw := []byte(c.Args)
	if file, ok := strings.CutPrefix(c.Args, "@"); ok {
		var err error
		if raw, err = readText(file); err != nil {
			return explain.Failure("cannot use "+file, err, "--args takes JSON, or @FILE")
		}
	}
	name := c.Tool
	if name != "" && !strings.Contains(name, ".") {
		name = t.Provider.Name() + "." + name
	}
	for _, tool := range t.Provider.Tools() {
		if name != "" && tool.Name() != name || name == "" && tool.Risk() != connection.Read {
			continue
		}
		args, err := tool.Arguments(raw)
		switch {
		case tool.Risk() != connection.Read:
			return explain.Misuse(tool.Name()+" is not called here", "its risk is "+string(tool.Risk()), "name a tool whose risk is read")
		case err != nil && name != "":
			return explain.Misuse("the tool does not take these arguments", render.Clean(err.Error()), "--args takes JSON, or @FILE")
		case err == nil:
			t.Tool, t.Arguments = &tool, args
		}
		if t.Tool != nil {
			break
		}
	}
	if t.Tool == nil && name != "" {
		return explain.Misuse("there is no tool "+render.Clean(name), "", "obo providers show "+t.Provider.Name()+" lists them")
	}
	t.Scopes = c.Scope
	if len(t.Scopes) == 0 && t.Tool != nil {
		t.Scopes = t.Tool.Scopes()
	} else if len(t.Scopes) == 0 {
		t.Scopes = t.Provider.Scopes()
	}
	for _, s := range t.Scopes {
		if !slices.Contains(t.Provider.Scopes(), s) {
			return explain.Misuse("the record has no scope "+render.Clean(s), "a scope here is the record's, not the provider's",
				"obo providers show "+t.Provider.Name()+" lists them")
		}
	}
	return nil
}

// credentials reads what the pattern needs.
func (c providersTestCommand) credentials(a *app, t *trial.Trial) error {
	read := func(what, file string) ([]byte, error) {
		if file == "-" && a.terminal {
			fmt.Fprintf(a.err, "Paste %s, then a line break and Ctrl-D.\n", what)
		}
		s, err := remote.ReadSecret(file, a.in)
		return []byte(s.Reveal()), err
	}
	switch t.Pattern {
	case connection.OAuth:
		if c.ClientID == "" {
			return explain.Misuse("the client is not known", "--client-id is not given", "register a client at the provider: "+
				cmp.Or(t.Provider.Summary().Registration, "its documentation says where"))
		}
		if c.ClientSecretFile == "" && !t.Provider.AuthenticatesClient() {
			return nil
		}
		secret, err := read("the client's secret", cmp.Or(c.ClientSecretFile, "-"))
		t.Client.Secret = vault.NewCredential("", secret)
		return err
	case connection.ServiceAccount:
		file, err := read("the account's key", c.KeyFile)
		if err != nil {
			return err
		}
		if t.Credential, err = t.Provider.ServiceKey(c.Username, file); err != nil {
			return explain.Failure("the key cannot be used", err, "--key-file takes it as the provider hands it out")
		}
		return nil
	}
	if t.Pattern == connection.Basic && c.Username == "" {
		return explain.Misuse("the user is not known", "--username is not given", "--username NAME says it")
	}
	secret, err := read("the key or password", c.SecretFile)
	t.Credential = vault.NewCredential(c.Username, secret)
	return err
}
