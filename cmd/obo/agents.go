package main

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type agentsCommand struct {
	List   agentsListCommand  `cmd:"" help:"List agents: who they are, who owns them, what they can do and why, when they last acted."`
	Secret agentSecretCommand `cmd:"" help:"Make a new client secret; it is shown once."`
}

type agentSecretCommand struct {
	Org          string `arg:"" help:"The org."`
	Agent        string `arg:"" help:"The agent's name within the org."`
	DropPrevious bool   `help:"Only the new one works from now on: after a leak."`
	dryRunFlag
}

// Help is shown below the flags.
func (agentSecretCommand) Help() string {
	return `The secret before stays valid until the next call, so that it can be replaced without an outage.

Examples:
  obo agents secret acme researcher > researcher.secret
  obo agents secret acme researcher --drop-previous`
}

func (c agentSecretCommand) Run(ctx context.Context, a *app) error {
	a.DefaultOrg = c.Org // whose login it is
	return a.asOperator(ctx, "cannot make a secret for "+c.Agent, func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.RotateClientSecret(ctx,
			&obov1.RotateClientSecretRequest{OrgId: c.Org, Agent: c.Agent, DropPrevious: c.DropPrevious, DryRun: c.DryRun})
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			if c.DryRun {
				a.showChanges(resp.GetChanges())
				return
			}
			a.Printf("%s\n", resp.GetClientSecret())
		})
	})
}

type agentsListCommand struct {
	listFlags
	Rights bool `help:"Also each agent's scopes, with the policies that can permit them."`
}

// Help is shown below the flags.
func (agentsListCommand) Help() string {
	return `A scope behind which no policy stands is one that the agent is registered for and cannot have. When an agent last acted is
known to ten seconds.

Examples:
  obo agents list --org acme
  obo agents list --rights
  obo agents list -o json | jq '.agents[] | select(.owner == null)'`
}

func (c agentsListCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	return a.asOperator(ctx, "cannot list the agents", func(ctx context.Context, s *remote.STS) error {
		agents, err := every(c.listFlags, func(size int32, token string) ([]*obov1.Agent, string, error) {
			page, err := s.Admin.ListAgents(ctx, &obov1.ListAgentsRequest{OrgId: org, PageSize: size, PageToken: token})
			return page.GetAgents(), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		return a.Print(&obov1.ListAgentsResponse{Agents: agents}, func() { a.showAgents(agents, c.Rights) })
	})
}

func (a *app) showAgents(agents []*obov1.Agent, rights bool) {
	rows := [][]string{{"AGENT", "STATE", "OWNER", "PURPOSE", "EXPIRES", "LAST ACTED", "CREDENTIALS", "SCOPES"}}
	for _, g := range agents {
		var scopes []string
		for _, r := range g.GetRights() {
			scopes = append(scopes, r.GetScope())
		}
		rows = append(rows, []string{g.GetName(), g.GetState(), orDash(g.GetOwner()), orDash(g.GetPurpose()), when(g.GetExpires()),
			lastActed(g.GetLastActed()), orDash(strings.Join(g.GetCredentials(), ",")), orDash(strings.Join(scopes, ","))})
	}
	a.Table(rows)
	if !rights {
		return
	}
	rows = [][]string{{"AGENT", "SCOPE", "CAN BE PERMITTED BY"}}
	for _, g := range agents {
		for _, r := range g.GetRights() {
			by := strings.Join(r.GetPolicies(), ", ")
			if by == "" {
				by = a.Yellow("no policy")
			}
			rows = append(rows, []string{g.GetName(), render.Clean(r.GetScope()), by})
		}
	}
	a.Printf("\n")
	a.Table(rows)
}

func lastActed(t *timestamppb.Timestamp) string {
	if t == nil {
		return "never"
	}
	return when(t)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return render.Clean(s)
}
