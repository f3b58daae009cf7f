package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type vaultCommand struct {
	Status vaultStatusCommand `cmd:"" help:"Show an org's data key, and how many credentials are sealed with it."`
	Rotate vaultRotateCommand `cmd:"" help:"Replace an org's data key, and seal its credentials again, while calls go on."`
	Shred  vaultShredCommand  `cmd:"" help:"Destroy every credential of an org, in every backup too."`
}

// Help is shown below the flags.
func (vaultCommand) Help() string {
	return `Each org has a data key, with which its credentials for providers are sealed. The data key is sealed by the executor's key-encryption
key (obo-executor key).

Examples:
  obo vault status acme
  obo vault rotate acme`
}

type vaultStatusCommand struct {
	Org string `arg:"" help:"The org."`
}

// Help is shown below the flags.
func (vaultStatusCommand) Help() string {
	return `Two keys: a rotation runs, or was interrupted; obo vault rotate goes on with it.

Examples:
  obo vault status acme
  obo vault status acme -o json | jq '.keys | length'`
}

func (c vaultStatusCommand) Run(ctx context.Context, a *app) error {
	a.DefaultOrg = c.Org // whose login it is
	return a.asExecutorOperator(ctx, "cannot read how the vault stands", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.GetVault(ctx, &obov1.GetVaultRequest{OrgId: c.Org})
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			if len(resp.GetKeys()) == 0 {
				a.Printf("%s has no data key: nothing was sealed yet, or it was shredded\n", c.Org)
			} else {
				rows := [][]string{{"DATA KEY", "DOES", "CREDENTIALS", "SEALED BY"}}
				for _, k := range resp.GetKeys() {
					does := map[bool]string{true: "seals, opens", false: "opens"}[k.GetSeals()]
					rows = append(rows, []string{k.GetId(), does, strconv.FormatInt(k.GetCredentials(), 10), resp.GetKeyEncryptionKey()})
				}
				a.Table(rows)
			}
			a.Printf("%d connections without a credential, %d with one that is destroyed\n", resp.GetWithoutCredential(), resp.GetDestroyed())
		})
	})
}

type vaultRotateCommand struct {
	dryRunFlag
	Org string `arg:"" help:"The org."`
}

// Help is shown below the flags.
func (vaultRotateCommand) Help() string {
	return `A new key seals from now on; each credential is sealed again with it, and gets a new version; then the key of before is dropped. No call
fails meanwhile. It can be stopped (Ctrl-C) at any time, and run again: it goes on where it was. Progress is on standard error.

Example:
  obo vault rotate acme`
}

func (c vaultRotateCommand) Run(ctx context.Context, a *app) error {
	a.DefaultOrg = c.Org // whose login it is
	executor, err := a.executor()
	if err != nil {
		return err
	}
	defer executor.Conn.Close()
	token, err := a.executorToken()
	if err != nil {
		return err
	}
	last, err := c.follow(remote.Bearer(ctx, token), a, executor.Admin) // as long as it takes: --timeout is for one answer
	if err != nil {
		return explain.Of("cannot rotate the data key of "+c.Org, err)
	}
	return a.Print(last, func() {
		switch {
		case len(last.GetChanges()) == 0:
			a.Printf("%s has no data key: there is nothing to rotate\n", c.Org)
		case c.DryRun:
			a.showChanges(last.GetChanges())
			a.Printf("%s %d credentials\n", a.Yellow("would seal again"), last.GetTotal()-last.GetDone())
		default:
			a.Printf("%s: %d credentials of %s are sealed with a new key\n", a.Green("rotated"), last.GetTotal(), c.Org)
		}
	})
}

// follow shows the progress, and answers with the last message.
func (c vaultRotateCommand) follow(ctx context.Context, a *app, e obov1.ExecutorAdminServiceClient) (*obov1.RotateDataKeyResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := e.RotateDataKey(ctx, &obov1.RotateDataKeyRequest{OrgId: c.Org, DryRun: c.DryRun})
	if err != nil {
		return nil, err
	}
	var last *obov1.RotateDataKeyResponse
	for {
		got, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && last != nil:
			return last, nil
		case err != nil:
			return nil, err
		}
		last = got
		if !c.DryRun && !got.GetComplete() {
			fmt.Fprintf(a.err, "sealed again: %d of %d\n", got.GetDone(), got.GetTotal())
		}
	}
}

type vaultShredCommand struct {
	dryRunFlag
	Org string `arg:"" help:"The org."`
	Yes bool   `help:"Do not ask. This cannot be undone."`
}

// Help is shown below the flags.
func (vaultShredCommand) Help() string {
	return `Destroys the org's data key: no credential of the org opens again, whoever has a copy of the database. A copy from before opens as long as
the key-encryption key of then exists: replace that too (obo-executor key), or destroy the copy. At a terminal it asks for the org's
name; elsewhere it wants --yes.

Examples:
  obo vault shred acme --dry-run
  obo vault shred acme --yes`
}

func (c vaultShredCommand) Run(ctx context.Context, a *app) error {
	if !c.Yes && !c.DryRun && !a.types(c.Org) {
		return explain.Misuse("not destroying the credentials of "+c.Org, "this cannot be undone, and it was not confirmed",
			"type the org's name at a terminal, or give --yes")
	}
	a.DefaultOrg = c.Org // whose login it is
	return a.asExecutorOperator(ctx, "cannot destroy the credentials", func(ctx context.Context, e *remote.Executor) error {
		resp, err := e.Admin.ShredOrg(ctx, &obov1.ShredOrgRequest{OrgId: c.Org, DryRun: c.DryRun})
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			what := did(c.DryRun, a.Green("destroyed"), a.Yellow("would destroy"))
			a.Printf("%s %d credentials of %s\n", what, resp.GetConnections(), c.Org)
		})
	})
}

// types reports whether whoever sits at the terminal types a name.
func (a *app) types(name string) bool {
	if !a.terminal {
		return false
	}
	fmt.Fprintf(a.err, "this destroys every credential of %s for good. Type the org's name: ", name)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	return err == nil && strings.TrimSpace(line) == name
}
