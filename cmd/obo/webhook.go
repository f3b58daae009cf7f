package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type webhookCommand struct {
	Set    webhookSetCommand    `cmd:"" help:"Say where an org is told of changes of its connections."`
	Show   webhookShowCommand   `cmd:"" help:"Show the webhook, and how far it was told."`
	Test   webhookTestCommand   `cmd:"" help:"Post a test message now."`
	Delete webhookDeleteCommand `cmd:"" help:"Forget the webhook and its secret."`
}

// Help is shown below the flags.
func (webhookCommand) Help() string {
	return `Examples:
  obo webhook set acme https://hooks.acme.example/obo
  obo webhook test acme
  obo webhook show acme`
}

// versionFlag is that of a command that changes what has a version.
type versionFlag struct {
	ExpectedVersion *int64 `placeholder:"N" help:"Only if this version is in force, 0 for none. Default: whichever is."`
}

type webhookSetCommand struct {
	dryRunFlag
	versionFlag
	Org        string `arg:"" help:"The org."`
	URL        string `arg:"" help:"Where to post: https. Whoever administers the org can read it, so no secret in it."`
	SecretFile string `placeholder:"FILE" help:"File with the secret (whsec_...), - for standard input. Default: one is made, and shown once."`
}

// Help is shown below the flags.
func (webhookSetCommand) Help() string {
	return `Messages are signed as Standard Webhooks has it; docs/EVENTS.md shows how a receiver verifies them, and what is in them. A webhook that was
failing begins again where it was. Each set takes another secret: the one before is not used for another URL.

Examples:
  obo webhook set acme https://hooks.acme.example/obo
  obo webhook set acme https://hooks.acme.example/obo --secret-file webhook.secret`
}

func (c webhookSetCommand) Run(ctx context.Context, a *app) error {
	req := &obov1.PutWebhookRequest{OrgId: c.Org, Url: c.URL, ExpectedVersion: c.ExpectedVersion, DryRun: c.DryRun}
	if c.SecretFile != "" {
		secret, err := remote.ReadSecret(c.SecretFile, a.in)
		if err != nil {
			return err
		}
		req.Secret = secret.Reveal()
	}
	a.DefaultOrg = c.Org // whose login it is
	return a.asExecutorOperator(ctx, "cannot set the webhook", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.PutWebhook(ctx, req)
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			if c.DryRun {
				a.showChanges(resp.GetChanges())
				return
			}
			a.showWebhook(resp.GetWebhook())
			if resp.GetSecret() != "" {
				a.Printf("\n%s\n%s\n", a.Bold("The secret, which is not shown again:"), resp.GetSecret())
			}
		})
	})
}

type webhookShowCommand struct {
	Org string `arg:"" help:"The org."`
}

// Help is shown below the flags.
func (webhookShowCommand) Help() string {
	return `The state is active, retrying when the receiver did not take the last event, or failing when nothing more is sent until it is set again.

Examples:
  obo webhook show acme
  obo webhook show acme -o json | jq .webhook.failure`
}

func (c webhookShowCommand) Run(ctx context.Context, a *app) error {
	a.DefaultOrg = c.Org
	return a.asExecutorOperator(ctx, "cannot show the webhook", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.GetWebhook(ctx, &obov1.GetWebhookRequest{OrgId: c.Org})
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.showWebhook(resp.GetWebhook()) })
	})
}

func (a *app) showWebhook(w *obov1.Webhook) {
	rows := [][]string{
		{"URL", render.Clean(w.GetUrl())}, {"VERSION", strconv.FormatInt(w.GetVersion(), 10)}, {"STATE", w.GetStatus()},
		{"UPDATED", when(w.GetUpdated())}, {"DELIVERED", strconv.FormatUint(w.GetDelivered(), 10)},
		{"NEWEST", strconv.FormatUint(w.GetNewest(), 10)},
	}
	if w.GetFailures() > 0 {
		rows = append(rows, []string{"FAILURES", strconv.Itoa(int(w.GetFailures()))}, []string{"SINCE", when(w.GetFailingSince())},
			[]string{"NEXT ATTEMPT", when(w.GetNextAttempt())}, []string{"REASON", cmp.Or(render.Clean(w.GetFailure()), "-")})
	}
	a.Table(rows)
}

type webhookTestCommand struct {
	Org string `arg:"" help:"The org."`
}

// Help is shown below the flags.
func (webhookTestCommand) Help() string {
	return `Posts a message of type webhook.test, once. It is no event: nothing of what was delivered changes.

Example:
  obo webhook test acme`
}

func (c webhookTestCommand) Run(ctx context.Context, a *app) error {
	a.DefaultOrg = c.Org
	return a.asExecutorOperator(ctx, "cannot test the webhook", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.TestWebhook(ctx, &obov1.TestWebhookRequest{OrgId: c.Org})
		if err != nil {
			return err
		}
		if resp.GetFailure() != "" {
			return &explain.Problem{What: "the receiver did not take the message", Code: explain.Failed, Why: render.Clean(resp.GetFailure()),
				Do: "look at the receiver, and at the executor's log; docs/EVENTS.md says what it is sent"}
		}
		return a.Print(resp, func() { a.Printf("%s\n", a.Green("taken")) })
	})
}

type webhookDeleteCommand struct {
	dryRunFlag
	versionFlag
	Org string `arg:"" help:"The org."`
}

// Help is shown below the flags.
func (webhookDeleteCommand) Help() string { return "Example:\n  obo webhook delete acme" }

func (c webhookDeleteCommand) Run(ctx context.Context, a *app) error {
	a.DefaultOrg = c.Org
	return a.asExecutorOperator(ctx, "cannot delete the webhook", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.DeleteWebhook(ctx, &obov1.DeleteWebhookRequest{OrgId: c.Org, ExpectedVersion: c.ExpectedVersion, DryRun: c.DryRun})
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			a.Printf("%s the webhook of %s\n", did(c.DryRun, a.Green("deleted"), a.Yellow("would delete")), c.Org)
		})
	})
}
