package main

import (
	"context"
	"encoding/json"
	"strconv"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// printDocument shows an org's configuration; it is JSON for a person too.
func (a *app) printDocument(resp *obov1.GetOrgResponse) error {
	p := a.Printer
	p.JSON = true
	return p.Print(map[string]any{"version": resp.GetVersion(), "document": json.RawMessage(resp.GetDocument())}, nil)
}

func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05")
}

type connectionCommand struct {
	Put    connectionPutCommand    `cmd:"" help:"Store a credential, or replace it."`
	List   connectionListCommand   `cmd:"" help:"List connections, without their credentials."`
	Delete connectionDeleteCommand `cmd:"" help:"Delete a connection and its credential."`
}

type connectionPutCommand struct {
	dryRunFlag
	ID         string            `arg:"" help:"The connection's id within the org."`
	Provider   string            `required:"" placeholder:"NAME" help:"The provider it is for."`
	Pattern    string            `enum:"developer_secret,api_key,basic,service_account" default:"api_key" help:"developer_secret, api_key, basic or service_account."`
	Subject    string            `placeholder:"USER" help:"Whose it is, such as user:acme/okta|00u1. Not for developer_secret and service_account."`
	Username   string            `placeholder:"NAME" help:"For basic; for service_account the client id, unless the key file says it."`
	Setting    map[string]string `placeholder:"NAME=VALUE" help:"What the provider's record asks for."`
	SecretFile string            `default:"-" placeholder:"FILE" help:"File with the secret, - for standard input. It is never an argument, which other processes could read."`
}

// Help is shown below the flags.
func (connectionPutCommand) Help() string {
	return `Examples:
  obo connection put alice-tracker --provider tracker --subject "user:acme/sample|alice" < alice.key
  obo connection put ci --provider github --pattern developer_secret --secret-file github.pat
  obo connection put reports --provider google --pattern service_account --secret-file key.json`
}

func (c connectionPutCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	secret, err := remote.ReadSecret(c.SecretFile, a.in)
	if err != nil {
		return err
	}
	return a.asExecutorOperator(ctx, "cannot store the connection", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.PutConnection(ctx, &obov1.PutConnectionRequest{OrgId: org, Connection: c.ID, Provider: c.Provider,
			Pattern: c.Pattern, Subject: c.Subject, Username: c.Username, Secret: secret.Reveal(), Settings: c.Setting,
			DryRun: c.DryRun})
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.showConnections([]*obov1.Connection{resp.GetConnection()}) })
	})
}

type connectionListCommand struct{ listFlags }

// Help is shown below the flags.
func (connectionListCommand) Help() string { return "Example:\n  obo connection list --org acme" }

func (c connectionListCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	return a.asExecutorOperator(ctx, "cannot list the connections", func(ctx context.Context, e *remote.Executor) error {
		list, err := every(c.listFlags, func(size int32, token string) ([]*obov1.Connection, string, error) {
			page, err := e.Admin.ListConnections(ctx, &obov1.ListConnectionsRequest{OrgId: org, PageSize: size, PageToken: token})
			return page.GetConnections(), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		return a.Print(&obov1.ListConnectionsResponse{Connections: list}, func() { a.showConnections(list) })
	})
}

func (a *app) showConnections(connections []*obov1.Connection) {
	rows := [][]string{{"ID", "PROVIDER", "PATTERN", "SUBJECT", "STATUS", "ACCOUNT", "VERSION", "UPDATED"}}
	for _, c := range connections {
		subject := c.GetSubject()
		if subject == "" {
			subject = "(the whole org)"
		}
		rows = append(rows, []string{c.GetId(), c.GetProvider(), c.GetPattern(), render.Clean(subject), c.GetStatus(), render.Clean(c.GetAccount()),
			strconv.FormatInt(c.GetVersion(), 10), when(c.GetUpdated())})
	}
	a.Table(rows)
}

type connectionDeleteCommand struct {
	dryRunFlag
	ID string `arg:"" help:"The connection's id within the org."`
}

// Help is shown below the flags.
func (connectionDeleteCommand) Help() string {
	return "Example:\n  obo connection delete alice-tracker"
}

func (c connectionDeleteCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	return a.asExecutorOperator(ctx, "cannot delete the connection", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.DeleteConnection(ctx, &obov1.DeleteConnectionRequest{OrgId: org, Connection: c.ID, DryRun: c.DryRun})
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			a.Printf("%s %s\n", did(c.DryRun, a.Green("deleted"), a.Yellow("would delete")), c.ID)
			switch {
			case resp.GetRevokedAtProvider():
				a.Printf("its grant was revoked at the provider\n")
			case resp.GetProviderNote() != "":
				a.Printf("not revoked at the provider: %s\n", render.Clean(resp.GetProviderNote()))
			}
		})
	})
}
