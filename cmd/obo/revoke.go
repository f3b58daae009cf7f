package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type revokeCommand struct {
	Kind     string `arg:"" enum:"token,transaction,subject,session,agent,client,org,connection" help:"token, transaction, subject, session, agent, client, org or connection."`
	ID       string `arg:"" help:"The jti, txn, sub, sid, agent name, client_id, org or connection id."`
	Provider string `placeholder:"NAME" help:"Only tokens with a scope of this provider."`
	Since    string `placeholder:"TIME" help:"Only tokens issued since: 2026-01-02T15:04:05Z, 15:04 (today), or 2h (ago)."`
	Departed bool   `help:"The subject has left for good: end its connections too."`
	DryRun   bool   `help:"Only say what would be hit."`
	Reason   string `placeholder:"TEXT" help:"Why, for people."`
	waitFlags
}

// Help is shown below the flags.
func (revokeCommand) Help() string {
	return `Every token of that key whose tree began up to now is refused from now on, wherever the key stands in its chain, and the calls
that run under it are stopped. What begins with a newer login is not: to stop an agent for good, disable it in org.yaml too.

Examples:
  obo revoke agent orchestrator --reason "behaves oddly"
  obo revoke agent orchestrator --provider github --since 12:00 --dry-run
  obo revoke subject "user:acme/sample|alice" --departed
  obo revoke subject "operator:okta|00u1"
  obo revoke token 0198... --org acme
  obo revoke agent orchestrator --wait --wait-for 5s`
}

func (c revokeCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	switch {
	case c.Kind == "subject" && strings.HasPrefix(c.ID, "operator:"):
		org, a.DefaultOrg = "", "" // operators belong to the server
	case err != nil:
		return err
	}
	req := &obov1.RevokeRequest{
		OrgId: org, Kind: c.Kind, Id: c.ID, Reason: c.Reason, Provider: c.Provider, Departed: c.Departed, DryRun: c.DryRun,
	}
	if c.Since != "" {
		since, err := parseSince(c.Since, a.now())
		if err != nil {
			return explain.Misuse("cannot revoke", err.Error(), "say --since 2026-01-02T15:04:05Z, --since 15:04 or --since 2h")
		}
		req.Since = timestamppb.New(since)
	}
	return a.asOperator(ctx, "cannot revoke", func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.Revoke(ctx, req)
		if err != nil {
			return err
		}
		c.Wait = c.Wait && !c.DryRun
		w, err := a.await(ctx, s, c.waitFlags, resp.GetSequence())
		if err != nil {
			return err
		}
		err = a.Print(withWait(resp, w), func() {
			a.showRevoked(resp, c.DryRun)
			if w != nil {
				a.showFollowers(w.GetReplicas(), resp.GetSequence())
			}
		})
		return cmp.Or(err, unconfirmed(w, resp.GetSequence()))
	})
}

// parseSince reads a time of RFC 3339, a time of today, or how long ago.
func parseSince(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation("15:04", text, now.Location()); err == nil {
		today := time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location())
		if today.After(now) {
			return time.Time{}, fmt.Errorf("%s of today is still to come", text)
		}
		return today, nil
	}
	d, err := time.ParseDuration(strings.TrimSpace(strings.TrimSuffix(text, "ago")))
	if err != nil || d <= 0 {
		return time.Time{}, fmt.Errorf("%q is neither a time nor a duration", text)
	}
	return now.Add(-d), nil
}

// showRevoked says what is refused, whom that hits, and what it does not stop.
func (a *app) showRevoked(resp *obov1.RevokeResponse, dryRun bool) {
	r := resp.GetRevocation()
	what := a.Green("revoked")
	if dryRun {
		what = a.Yellow("would revoke")
	}
	a.Printf("%s: %s\n", what, describeRevocation(r))
	switch total, shown := resp.GetTotal(), len(resp.GetTokens()); {
	case resp.GetUncounted():
		a.Printf("%s\n", a.Yellow("Whom it hits is not known: the trail cannot be read now. It is in force all the same."))
	case r.GetKind() == "connection":
		a.Printf("Calls with the connection are refused. No token is.\n")
	case total == 0:
		a.Printf("No live token is hit. Logins from before are refused all the same.\n")
	default:
		a.Printf("%d live tokens %s:\n", total, map[bool]string{false: "were hit", true: "would be hit"}[dryRun])
		rows := [][]string{{"TOKEN", "TRANSACTION", "SUBJECT", "ACTOR", "SCOPES", "ISSUED", "EXPIRES"}}
		for _, t := range resp.GetTokens() {
			rows = append(rows, []string{t.GetId(), t.GetTransaction(), render.Clean(t.GetSubject()), t.GetActor(),
				strings.Join(t.GetScopes(), " "), when(t.GetIssued()), when(t.GetExpiry())})
		}
		a.Table(rows)
		if int(total) > shown {
			a.Printf("and %d older ones\n", int(total)-shown)
		}
	}
	if kind := r.GetKind(); kind == "agent" || kind == "client" {
		a.Printf("%s\n", a.Dim("New logins still bring it new tokens. "+
			"To stop those, set disabled: true for the agent in org.yaml, and obo apply."))
	}
}

// describeRevocation is an entry in one line.
func describeRevocation(r *obov1.Revocation) string {
	text := fmt.Sprintf("%s %s of %s", r.GetKind(), render.Clean(r.GetId()), r.GetOrgId())
	if r.GetScope() != "" {
		text += ", with scopes " + r.GetScope() + "*"
	}
	if r.GetSince() != nil {
		text += ", issued since " + when(r.GetSince())
	}
	if r.GetKind() != "token" && r.GetKind() != "transaction" {
		text += ", begun until " + when(r.GetBefore())
	}
	if r.GetDeparted() {
		text += ", and its connections"
	}
	return text
}

type revocationsCommand struct {
	listFlags
	Server bool `help:"Of operators, and of signing keys that were given up, instead of an org's."`
}

// Help is shown below the flags.
func (revocationsCommand) Help() string {
	return "Examples:\n  obo revocations --org acme\n  obo revocations --server"
}

func (c revocationsCommand) Run(ctx context.Context, a *app) error {
	var org string
	ask := a.onServer
	if !c.Server {
		var err error
		if org, err = a.org(); err != nil {
			return err
		}
		ask = a.asOperator
	}
	return ask(ctx, "cannot list revocations", func(ctx context.Context, s *remote.STS) error {
		entries, err := every(c.listFlags, func(size int32, token string) ([]*obov1.Revocation, string, error) {
			page, err := s.Admin.ListRevocations(ctx, &obov1.ListRevocationsRequest{OrgId: org, PageSize: size, PageToken: token})
			return page.GetRevocations(), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		return a.Print(&obov1.ListRevocationsResponse{Revocations: entries}, func() {
			rows := [][]string{{"KIND", "ID", "SCOPE", "ISSUED SINCE", "BEGUN UNTIL", "KEPT UNTIL", "REASON"}}
			for _, r := range entries {
				rows = append(rows, []string{r.GetKind(), render.Clean(r.GetId()), r.GetScope(), when(r.GetSince()), when(r.GetBefore()),
					when(r.GetUntil()), render.Clean(r.GetReason())})
			}
			a.Table(rows)
		})
	})
}
