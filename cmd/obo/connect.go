package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

type connectCommand struct {
	Start  connectStartCommand     `cmd:"" help:"Ask a user to connect an account, and wait until it is done."`
	List   connectionListCommand   `cmd:"" help:"List connections, without their credentials."`
	Show   connectShowCommand      `cmd:"" help:"Show one connection."`
	Delete connectionDeleteCommand `cmd:"" help:"Revoke a connection's grant at the provider, and delete it."`
	Watch  connectWatchCommand     `cmd:"" help:"Show changes of connections' statuses as they come, until Ctrl-C."`
	Theme  connectThemeCommand     `cmd:"" help:"How the pages look on which users connect accounts."`
	Client connectClientCommand    `cmd:"" help:"The org's clients at providers, and at issuers where its users sign in."`
}

// Help is shown below the flags.
func (connectCommand) Help() string {
	return `A user connects an account in a browser: the link leads to the executor, which has the user sign in at the org's issuer first. Before
that works, the org needs two clients (obo connect client set): one at the issuer, one at the provider.

Examples:
  obo connect client set issuer/okta --client-id obo-pages --setting issuer=https://acme.okta.example
  obo connect client set google --client-id 123.apps.googleusercontent.com --secret-file google.secret
  obo connect start google --subject "user:acme/okta|00u1"
  obo connect list`
}

type connectStartCommand struct {
	Provider   string        `arg:"" help:"The provider, as obo providers list names it."`
	Subject    string        `required:"" placeholder:"USER" help:"Whose account, such as user:acme/okta|00u1."`
	Scope      []string      `sep:" " placeholder:"SCOPE" help:"Scopes of the provider's record. Default: all."`
	Connection string        `placeholder:"ID" help:"A connection to be connected again, or a name for a new one."`
	Wait       time.Duration `default:"15m" help:"How long to wait for the user; 0 only prints the link."`
}

// Help is shown below the flags.
func (connectStartCommand) Help() string {
	return `Prints a link, which is good for 15 minutes, for this user alone. Exits with 0 when the account is connected.

Examples:
  obo connect start google --subject "user:acme/okta|00u1"
  obo connect start google --subject "user:acme/okta|00u1" --scope google:calendar:read --connection work --wait 0`
}

// awaitStep is how long one question waits.
const awaitStep = 20 * time.Second

func (c connectStartCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	var got *obov1.Authorization
	err = a.asExecutorOperator(ctx, "cannot ask the user", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.AuthorizeConnection(ctx, &obov1.AuthorizeConnectionRequest{
			OrgId: org, Subject: c.Subject, Provider: c.Provider, Scopes: c.Scope, Connection: c.Connection,
		})
		got = resp.GetAuthorization()
		return err
	})
	if err != nil {
		return err
	}
	if got.GetStatus() == "pending" && c.Wait > 0 {
		fmt.Fprintf(a.err, "Let %s open\n\n  %s\n\nWaiting until %s ...\n", render.Clean(c.Subject), got.GetUrl(),
			got.GetExpires().AsTime().Local().Format(time.TimeOnly))
		if got, err = c.await(ctx, a, org, got); err != nil {
			return err
		}
	}
	if err := a.Print(got, func() { a.showAuthorization(got) }); err != nil {
		return err
	}
	switch got.GetStatus() {
	case "active", "pending":
		return nil
	}
	return explain.Failure("the account is not connected", fmt.Errorf("%s: %s", got.GetStatus(), render.Clean(got.GetReason())),
		"start again when the reason is gone")
}

// await asks until the authorization is final, or the time is up.
func (c connectStartCommand) await(ctx context.Context, a *app, org string, got *obov1.Authorization) (*obov1.Authorization, error) {
	end := time.Now().Add(c.Wait)
	for got.GetStatus() == "pending" && time.Now().Before(end) {
		err := a.asExecutorOperator(ctx, "cannot wait for the user", func(ctx context.Context, e *remote.Executor) error {
			wait := min(awaitStep, time.Until(end), a.Timeout/2)
			resp, err := e.Admin.AwaitConnection(ctx, &obov1.AwaitConnectionRequest{
				OrgId: org, Id: got.GetId(), Wait: durationpb.New(max(wait, 0)),
			})
			if err == nil {
				got = resp.GetAuthorization()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return got, nil
}

func (a *app) showAuthorization(z *obov1.Authorization) {
	switch z.GetStatus() {
	case "pending":
		a.Printf("%s until %s: %s\n", a.Yellow("pending"), z.GetExpires().AsTime().Local().Format(time.TimeOnly), z.GetUrl())
	case "active":
		a.Printf("%s %s", a.Green("connected"), z.GetConnection())
		if z.GetReason() != "" {
			a.Printf(", but not granted: %s", render.Clean(z.GetReason()))
		}
		a.Printf("\n")
	default:
		a.Printf("%s %s\n", a.Red(z.GetStatus()), render.Clean(z.GetReason()))
	}
}

type connectShowCommand struct {
	ID string `arg:"" help:"The connection's id within the org."`
}

// Help is shown below the flags.
func (connectShowCommand) Help() string { return "Example:\n  obo connect show google-work" }

func (c connectShowCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	return a.asExecutorOperator(ctx, "cannot show the connection", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.GetConnection(ctx, &obov1.GetConnectionRequest{OrgId: org, Connection: c.ID})
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.showConnection(resp.GetConnection()) })
	})
}

func (a *app) showConnection(c *obov1.Connection) {
	rows := [][]string{
		{"id", c.GetId()}, {"provider", c.GetProvider()}, {"pattern", c.GetPattern()},
		{"subject", render.Clean(cmp.Or(c.GetSubject(), "(the whole org)"))}, {"status", c.GetStatus()},
		{"reason", render.Clean(c.GetStatusReason())}, {"account", render.Clean(c.GetAccount())}, {"credential", render.Clean(c.GetHint())},
		{"scopes", render.Clean(strings.Join(c.GetScopes(), " "))}, {"settings", render.Clean(pairs(c.GetSettings()))},
		{"version", strconv.FormatInt(c.GetVersion(), 10)}, {"connected", when(c.GetUpdated())}, {"token ends", when(c.GetExpires())},
	}
	a.Table(slices.DeleteFunc(rows, func(r []string) bool { return r[1] == "" || r[1] == "-" }))
}

func pairs(m map[string]string) string {
	out := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, name+"="+m[name])
	}
	return strings.Join(out, " ")
}

type connectClientCommand struct {
	Set    clientSetCommand    `cmd:"" help:"Register a client, or replace it."`
	List   clientListCommand   `cmd:"" help:"List clients, without their secrets."`
	Delete clientDeleteCommand `cmd:"" help:"Delete a client."`
}

// Help is shown below the flags.
func (connectClientCommand) Help() string {
	return `A client is what the org has registered at a provider, or at one of its issuers as issuer/NAME. Each must have the executor's redirect
URI there, which set and list print.

Example:
  obo connect client list`
}

type clientSetCommand struct {
	dryRunFlag
	Name       string            `arg:"" help:"The provider, or issuer/NAME for one of the org's issuers."`
	ClientID   string            `required:"" placeholder:"ID" help:"The client id there."`
	SecretFile string            `placeholder:"FILE" help:"File with the client's secret, - for standard input. Without it the client is a public one."`
	Setting    map[string]string `placeholder:"NAME=VALUE" help:"What the provider's record asks for; for an issuer: issuer=URL."`
}

// Help is shown below the flags.
func (clientSetCommand) Help() string {
	return `Examples:
  obo connect client set google --client-id 123.apps.googleusercontent.com --secret-file google.secret
  obo connect client set zendesk --client-id obo --secret-file zendesk.secret --setting subdomain=acme
  obo connect client set issuer/okta --client-id obo-pages --setting issuer=https://acme.okta.example`
}

func (c clientSetCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	var secret telemetry.Secret
	if c.SecretFile != "" {
		if secret, err = remote.ReadSecret(c.SecretFile, a.in); err != nil {
			return err
		}
	}
	return a.asExecutorOperator(ctx, "cannot store the client", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.PutClient(ctx, &obov1.PutClientRequest{
			OrgId: org, Name: c.Name, ClientId: c.ClientID, Secret: secret.Reveal(), Settings: c.Setting, DryRun: c.DryRun,
		})
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			a.Printf("%s %s\nIts redirect URI there: %s\n", did(c.DryRun, a.Green("stored"), a.Yellow("would store")), c.Name, resp.GetRedirectUri())
		})
	})
}

type clientListCommand struct{ listFlags }

// Help is shown below the flags.
func (clientListCommand) Help() string { return "Example:\n  obo connect client list --org acme" }

func (c clientListCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	return a.asExecutorOperator(ctx, "cannot list the clients", func(ctx context.Context, e *remote.Executor) error {
		redirect := ""
		list, err := every(c.listFlags, func(size int32, token string) ([]*obov1.Client, string, error) {
			page, err := e.Admin.ListClients(ctx, &obov1.ListClientsRequest{OrgId: org, PageSize: size, PageToken: token})
			redirect = page.GetRedirectUri()
			return page.GetClients(), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		return a.Print(&obov1.ListClientsResponse{Clients: list, RedirectUri: redirect}, func() {
			rows := [][]string{{"NAME", "CLIENT ID", "SECRET", "SETTINGS", "VERSION", "UPDATED"}}
			for _, k := range list {
				rows = append(rows, []string{k.GetName(), render.Clean(k.GetClientId()), map[bool]string{true: "yes", false: "none"}[k.GetConfidential()],
					render.Clean(pairs(k.GetSettings())), strconv.FormatInt(k.GetVersion(), 10), when(k.GetUpdated())})
			}
			a.Table(rows)
			a.Printf("redirect URI of each: %s\n", redirect)
		})
	})
}

type clientDeleteCommand struct {
	dryRunFlag
	Name string `arg:"" help:"The provider, or issuer/NAME."`
}

// Help is shown below the flags.
func (clientDeleteCommand) Help() string {
	return "Connections that were made with it cannot be refreshed any more.\n\nExample:\n  obo connect client delete google"
}

func (c clientDeleteCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	return a.asExecutorOperator(ctx, "cannot delete the client", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.DeleteClient(ctx, &obov1.DeleteClientRequest{OrgId: org, Name: c.Name, DryRun: c.DryRun})
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.Printf("%s %s\n", did(c.DryRun, a.Green("deleted"), a.Yellow("would delete")), c.Name) })
	})
}
