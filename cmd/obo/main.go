// Command obo is the operator's and the developer's tool: it runs everything on one machine, tells the whole story, applies
// orgs, exchanges tokens, makes calls, revokes, reads the trail, and measures.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/onbehalf/obo/cmd/obo/internal/dev"
	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
)

const about = `obo ("on behalf of") lets AI agents act for people without ever holding their keys.

Settings come from flags, from OBO_* in the environment, or from a file of NAME=value lines (--env FILE), which is what
obo dev writes. Errors go to standard error and say what happened, why, and what to do.

Exit codes:
  0  done                        4  a server cannot be reached or cannot answer now
  1  something went wrong here   5  the tool answered with an error
  2  wrong usage                 6  obo diff --exit-code found a difference
  3  a server refused          130  interrupted

Examples:
  obo demo
  obo dev --state /tmp/obo-dev
  obo call tracker.list_issues --env /tmp/obo-dev/env --token-file TOKEN --args '{"project":"apollo"}'`

// grammar is every command.
type grammar struct {
	Global

	Dev  devCommand  `cmd:"" help:"Run everything on this machine, on loopback."`
	Demo demoCommand `cmd:"" help:"Tell the whole story, and check that each step turns out as it should."`

	Exchange exchangeCommand `cmd:"" help:"Exchange a token for a narrower one."`
	Call     callCommand     `cmd:"" help:"Call a tool through the executor."`
	Tools    toolsCommand    `cmd:"" help:"List the tools that a token can call."`
	Token    tokenCommand    `cmd:"" help:"Look into a token, or verify it."`

	Login  loginCommand  `cmd:"" help:"Sign in as an administrator, by your browser."`
	Logout logoutCommand `cmd:"" help:"Revoke and forget the login."`
	Whoami whoamiCommand `cmd:"" help:"Say who you are to the servers."`

	Apply       applyCommand       `cmd:"" help:"Apply an org's configuration from files."`
	Diff        diffCommand        `cmd:"" help:"Show what apply would change."`
	Org         orgCommand         `cmd:"" help:"List orgs, show one."`
	Platform    platformCommand    `cmd:"" help:"Apply the operator's own policies, which every org is under."`
	Agents      agentsCommand      `cmd:"" help:"List agents; give one a new client secret."`
	Scim        scimCommand        `cmd:"" help:"Let an identity provider keep an org's users and groups."`
	Connect     connectCommand     `cmd:"" help:"Have users connect accounts, and see what becomes of them."`
	Providers   providersCommand   `cmd:"" help:"List, show, check and try provider records."`
	Connection  connectionCommand  `cmd:"" help:"Store, list and delete credentials for providers."`
	Vault       vaultCommand       `cmd:"" help:"Show, rotate and destroy the key that an org's credentials are sealed with."`
	Webhook     webhookCommand     `cmd:"" help:"Tell an org's own server of changes of connections."`
	Revoke      revokeCommand      `cmd:"" help:"Refuse tokens of an agent, a user, a transaction, ... from now on."`
	Revocations revocationsCommand `cmd:"" help:"List what is revoked."`
	Signals     signalsCommand     `cmd:"" help:"List streams of security events; store the credential of one that is polled."`
	Followers   followersCommand   `cmd:"" help:"List who follows the feed, and what each has in force."`
	Keys        keysCommand        `cmd:"" help:"List, rotate, retire and give up signing keys."`
	Audit       auditCommand       `cmd:"" help:"Read the audit trail of both servers."`
	Bench       benchCommand       `cmd:"" help:"Measure, against a floor measured in the same run."`

	DevIssuer   devIssuerCommand   `cmd:"" hidden:"" name:"dev-issuer" help:"Serve the sample OpenID provider."`
	DevProvider devProviderCommand `cmd:"" hidden:"" name:"dev-provider" help:"Serve the sample issue tracker."`
	BenchFloor  benchFloorCommand  `cmd:"" hidden:"" name:"bench-floor" help:"Serve the floor that obo bench compares with."`
}

// app is what every command works with.
type app struct {
	render.Printer
	Global
	in       io.Reader
	terminal bool // somebody sits at in
	err      io.Writer
	env      func(name string) (string, bool)
	now      func() time.Time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends us at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer, env func(string) (string, bool)) int {
	// Both are looked for before the command line is understood: its errors depend on the one, its values on the other.
	asJSON := value(args, "--output", "-o") == "json"
	env, err := withEnvFile(args, env)
	if err != nil {
		explain.Write(errOut, explain.Misuse("cannot read the env file", err.Error(), "obo dev writes one: --env DIR/env"), asJSON)
		return explain.Usage
	}
	var g grammar
	exited := -1
	parser, err := kong.New(&g, kong.Name("obo"), kong.Description(about), kong.Writers(out, errOut),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110, NoExpandSubcommands: true}),
		kong.Resolvers(fromEnvironment(env)), kong.Exit(func(code int) { exited = code }))
	if err != nil {
		explain.Write(errOut, explain.Failure("obo's own grammar is broken", err, "report this"), false)
		return explain.Failed
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited // help was asked for
	}
	if err != nil {
		explain.Write(errOut, explain.Misuse("cannot understand the command line", err.Error(), usageHint(err)), asJSON)
		return explain.Usage
	}
	_, noColor := env("NO_COLOR")
	a := &app{
		Printer: render.New(out, asJSON, noColor), Global: g.Global, in: in, terminal: isTerminal(in), err: errOut, env: env, now: time.Now,
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(a)
	if err := parsed.Run(); err != nil {
		p := explain.Of("obo "+strings.Join(commandWords(parsed), " ")+" failed", err)
		if p.What != "" {
			explain.Write(errOut, p, asJSON)
		}
		return p.Code
	}
	return explain.OK
}

// isTerminal reports whether somebody can answer a question.
func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// commandWords is the command without its arguments.
func commandWords(c *kong.Context) []string {
	var out []string
	for _, w := range strings.Fields(c.Command()) {
		if !strings.HasPrefix(w, "<") {
			out = append(out, w)
		}
	}
	return out
}

func usageHint(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if words := commandWords(parse.Context); len(words) > 0 {
			return fmt.Sprintf("obo %s --help shows how, with examples", strings.Join(words, " "))
		}
	}
	return "obo --help shows the commands"
}

// withEnvFile puts the file of --env, or of OBO_ENV, under the environment: what is really set wins.
func withEnvFile(args []string, env func(string) (string, bool)) (func(string) (string, bool), error) {
	path, _ := env("OBO_ENV")
	path = cmp.Or(value(args, "--env"), path)
	if path == "" {
		return env, nil
	}
	file, err := dev.ReadEnv(path)
	if errors.Is(err, fs.ErrNotExist) && value(args, "--env") == "" && len(args) > 0 && slices.Contains(ownWorld(), args[0]) {
		return env, nil // OBO_ENV may name the very file that is about to be written
	}
	if err != nil {
		return nil, err
	}
	return func(name string) (string, bool) {
		if v, ok := env(name); ok {
			return v, true
		}
		v, ok := file[name]
		return v, ok
	}, nil
}

// ownWorld are the commands that start what they work with, and those that they start.
func ownWorld() []string {
	return []string{"dev", "demo", "bench", "dev-issuer", "dev-provider", "bench-floor"}
}

// value is that of the last flag of one of these names; empty when there is none.
func value(args []string, names ...string) string {
	found := ""
	for i, a := range args {
		if a == "--" {
			break
		}
		for _, name := range names {
			if v, ok := strings.CutPrefix(a, name+"="); ok {
				found = v
			} else if a == name && i+1 < len(args) {
				found = args[i+1]
			} else if v, ok := strings.CutPrefix(a, name); ok && len(name) == 2 && v != "" {
				found = v // -ojson
			}
		}
	}
	return found
}

// fromEnvironment gives a flag with the tag `from` its value from the environment, when the command line has none.
func fromEnvironment(env func(string) (string, bool)) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if name := flag.Tag.Get("from"); name != "" {
			if v, ok := env(name); ok && v != "" {
				return v, nil
			}
		}
		return nil, nil
	})
}
