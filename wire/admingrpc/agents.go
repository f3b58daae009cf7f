package admingrpc

import (
	"context"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/wire/page"
)

// ListAgents implements AdminService.
func (s server) ListAgents(ctx context.Context, in *obov1.ListAgentsRequest) (*obov1.ListAgentsResponse, error) {
	org, err := orgID(in.GetOrgId())
	if err != nil {
		return nil, err
	}
	p, err := page.Of(in)
	if err != nil {
		return nil, err
	}
	agents, more, err := s.admin.ListAgents(ctx, org, p.After, p.Size)
	if err != nil {
		return nil, render(err)
	}
	out := &obov1.ListAgentsResponse{}
	for _, a := range agents {
		state := a.Off
		if state == "" {
			state = "enabled"
		}
		m := &obov1.Agent{
			Name: a.Name, AgentId: a.ID, ClientId: a.ClientID, Owner: a.Registration.Owner, Purpose: a.Registration.Purpose,
			Expires: stamp(a.Registration.Expires), State: state, External: a.Registration.External, Groups: a.Registration.Groups,
			Credentials: a.Credentials, LastActed: stamp(a.Last),
		}
		for _, r := range a.Rights {
			m.Rights = append(m.Rights, &obov1.AgentRight{Scope: r.Scope, Policies: r.Policies})
		}
		out.Agents = append(out.Agents, m)
	}
	if more {
		out.NextPageToken = p.Next(agents[len(agents)-1].Name)
	}
	return out, nil
}
