package main

import (
	"context"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type signalsCommand struct {
	List       signalsListCommand       `cmd:"" help:"List streams of security events, and how polling them goes."`
	Credential signalsCredentialCommand `cmd:"" help:"Store the credential with which a stream is polled."`
}

// Help is shown below the flags.
func (signalsCommand) Help() string { return "Example:\n  obo signals list --org acme" }

type signalsListCommand struct{}

// Help is shown below the flags.
func (signalsListCommand) Help() string {
	return `A stream with a poll_endpoint is waiting for its first poll, polled, failing, or off, when it cannot be polled. The reason says what
to do; of a stream that is polled, it is why polling last failed or an event was refused. Times are known to 15 seconds.

Examples:
  obo signals list --org acme
  obo signals list -o json | jq '.streams[] | select(.state == "failing")'`
}

func (signalsListCommand) Run(ctx context.Context, a *app) error {
	org, err := a.org()
	if err != nil {
		return err
	}
	return a.asOperator(ctx, "cannot list the streams", func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.ListSignalStreams(ctx, &obov1.ListSignalStreamsRequest{OrgId: org})
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.showStreams(resp.GetStreams()) })
	})
}

func (a *app) showStreams(streams []*obov1.SignalStream) {
	rows := [][]string{{"STREAM", "ISSUER", "DELIVERY", "STATE", "LAST POLL", "LAST FAILURE", "REASON"}}
	for _, s := range streams {
		delivery, polled, failed := "push", "-", "-"
		if s.GetPollEndpoint() != "" {
			delivery = "poll"
			if s.GetSucceeded() != nil {
				polled = when(s.GetSucceeded())
			}
			if s.GetFailed() != nil {
				failed = when(s.GetFailed())
			}
		}
		rows = append(rows, []string{s.GetName(), s.GetIssuer(), delivery, orDash(s.GetState()), polled, failed, orDash(s.GetReason())})
	}
	a.Table(rows)
}

type signalsCredentialCommand struct {
	dryRunFlag
	Org      string `arg:"" help:"The org."`
	Stream   string `arg:"" help:"The stream's name within the org."`
	FromFile string `placeholder:"FILE" help:"File with the bearer token that the transmitter gave, - for standard input."`
	Remove   bool   `help:"Forget the credential: the stream is not polled any more."`
}

// Help is shown below the flags.
func (signalsCredentialCommand) Help() string {
	return `The credential is sealed by the server and cannot be read back. It is for the poll_endpoint that the org's configuration has now; whoever
changes that must store one again. It replaces the one before at once.

Examples:
  obo signals credential acme okta-events --from-file okta.token
  obo signals credential acme okta-events --remove`
}

func (c signalsCredentialCommand) Run(ctx context.Context, a *app) error {
	req := &obov1.PutSignalCredentialRequest{OrgId: c.Org, Stream: c.Stream, Remove: c.Remove, DryRun: c.DryRun}
	switch {
	case c.Remove == (c.FromFile != ""):
		return explain.Misuse("the credential cannot be stored", "exactly one of --from-file and --remove must be given", "give one")
	case !c.Remove:
		secret, err := remote.ReadSecret(c.FromFile, a.in)
		if err != nil {
			return err
		}
		req.Credential = secret.Reveal()
	}
	a.DefaultOrg = c.Org // whose login it is
	return a.asOperator(ctx, "cannot store the credential of "+c.Stream, func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.PutSignalCredential(ctx, req)
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			if c.DryRun {
				a.showChanges(resp.GetChanges())
				return
			}
			a.Printf("%s\n", map[bool]string{false: "stored", true: "forgotten"}[c.Remove])
		})
	})
}
