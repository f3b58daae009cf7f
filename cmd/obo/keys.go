package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

type keysCommand struct {
	List   keysListCommand   `cmd:"" help:"List the signing keys, public parts only."`
	Rotate keysRotateCommand `cmd:"" help:"Publish a successor now; or, in an emergency, give keys up."`
	Retire keysRetireCommand `cmd:"" help:"Take one key out of use in an orderly way."`
	Import keysImportCommand `cmd:"" help:"Let a key of your own succeed the one that signs."`
}

type keysListCommand struct{}

// Help is shown below the flags.
func (keysListCommand) Help() string { return "Example:\n  obo keys list" }

func (keysListCommand) Run(ctx context.Context, a *app) error {
	return a.onServer(ctx, "cannot list the keys", func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.ListKeys(ctx, &obov1.ListKeysRequest{})
		if err != nil {
			return err
		}
		return a.Print(resp, func() { a.showKeys(resp.GetKeys()) })
	})
}

type keysRotateCommand struct {
	Emergency bool     `help:"Keys are in wrong hands: refuse all that they signed, everywhere, now."`
	Kid       []string `placeholder:"KID" help:"With --emergency: which keys. Default: all that are published."`
	Reason    string   `placeholder:"TEXT" help:"With --emergency: why, for people. Required."`

	dryRunFlag
	WaitFor time.Duration `default:"10s" help:"With --emergency: how long to wait for every follower to refuse what the keys signed, at most 30s."`
}

// Help is shown below the flags.
func (keysRotateCommand) Help() string {
	return `The successor signs once every verifier has had time to fetch it; tokens signed before stay good until they expire.

With --emergency keys are given up: the token server and every verifier on its feed refuse all that they signed at once, whoever
signed it and whenever, and successors sign at once. Agents must exchange again. Without --kid every published key is given up: who
could read one could read the others. It returns when every replica and every follower refuses; those that do not in time are listed,
and the exit code is 4: they refuse by their own bound. When the command fails halfway, run what it says: naming a key again completes it.

Examples:
  obo keys rotate
  obo keys rotate --emergency --reason "backup of the signing host was stolen"
  obo keys rotate --emergency --kid KID --reason "found in a log"`
}

func (c keysRotateCommand) Run(ctx context.Context, a *app) error {
	switch {
	case !c.Emergency && (len(c.Kid) > 0 || c.Reason != ""):
		return explain.Misuse("not rotating the keys", "--kid and --reason are for an emergency", "add --emergency, or leave them out")
	case c.Emergency && strings.TrimSpace(c.Reason) == "":
		return explain.Misuse("not giving keys up", "an emergency needs a reason, for the audit trail", `add --reason "what happened"`)
	}
	return a.onServer(ctx, "cannot rotate the keys", func(ctx context.Context, s *remote.STS) error {
		kids := c.Kid
		if c.Emergency && len(kids) == 0 {
			list, err := s.Admin.ListKeys(ctx, &obov1.ListKeysRequest{})
			if err != nil {
				return err
			}
			for _, k := range list.GetKeys() {
				kids = append(kids, k.GetKid())
			}
			if !c.DryRun {
				fmt.Fprintf(a.err, "giving up %d keys; "+
					"should this fail, complete it with: obo keys rotate --emergency --kid %s --reason ...\n",
					len(kids), strings.Join(kids, " --kid "))
			}
		}
		resp, err := s.Admin.RotateKeys(ctx, &obov1.RotateKeysRequest{CompromisedKids: kids, Reason: c.Reason, DryRun: c.DryRun})
		if err != nil {
			return err
		}
		w, err := a.await(ctx, s, waitFlags{Wait: c.Emergency && !c.DryRun, WaitFor: c.WaitFor}, resp.GetSequence())
		if err != nil {
			return err
		}
		err = a.Print(withWait(resp, w), func() {
			switch {
			case c.DryRun:
				a.showChanges(resp.GetChanges())
			case c.Emergency:
				a.Printf("%s %s: nothing that was signed with it is taken any more\n", a.Green("given up"), strings.Join(kids, ", "))
				a.showFollowers(w.GetReplicas(), resp.GetSequence())
			}
			a.showKeys(resp.GetKeys())
		})
		return cmp.Or(err, unconfirmed(w, resp.GetSequence()))
	})
}

type keysRetireCommand struct {
	dryRunFlag
	KID string `arg:"" help:"The key, as obo keys list shows it."`
}

// Help is shown below the flags.
func (keysRetireCommand) Help() string {
	return `What the key signed stays good until it expires. A key that waits to sign leaves at once; one that signs hands over to its
successor, so publish one first. For a key in wrong hands this is too slow: see obo keys rotate --emergency.

Examples:
  obo keys rotate
  obo keys retire KID`
}

func (c keysRetireCommand) Run(ctx context.Context, a *app) error {
	return a.onServer(ctx, "cannot retire "+c.KID, func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.RetireKey(ctx, &obov1.RetireKeyRequest{Kid: c.KID, DryRun: c.DryRun})
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			if c.DryRun {
				a.showChanges(resp.GetChanges())
			}
			a.showKeys(resp.GetKeys())
		})
	})
}

type keysImportCommand struct {
	dryRunFlag
	Alg    string `required:"" placeholder:"ALG" help:"Its one algorithm: ES256, EdDSA, PS256 or RS256."`
	File   string `placeholder:"FILE" xor:"where" required:"" help:"File with the private key, JWK or PEM (PKCS #8); - for standard input. It is sealed in the server's store."`
	AWSKMS string `name:"awskms" placeholder:"ARN" xor:"where" required:"" help:"ARN or id of a key in the AWS Key Management Service that signing.awskms names."`
	Pkcs11 string `name:"pkcs11" placeholder:"LABEL" xor:"where" required:"" help:"Label of a key pair in the token that signing.pkcs11 names; it never leaves there."`
}

// Help is shown below the flags.
func (keysImportCommand) Help() string {
	return `The key is published now and signs once every verifier has had time to fetch it. Its kid is its thumbprint (RFC 7638).

Examples:
  obo keys import --alg ES256 --file signing.jwk
  obo keys import --alg ES256 --pkcs11 obo-2027
  obo keys import --alg ES256 --awskms arn:aws:kms:eu-central-1:111122223333:key/0f...`
}

func (c keysImportCommand) Run(ctx context.Context, a *app) error {
	req := &obov1.ImportKeyRequest{Alg: c.Alg, Reference: cmp.Or(c.Pkcs11, c.AWSKMS), DryRun: c.DryRun}
	switch {
	case c.Pkcs11 != "":
		req.Source = "pkcs11"
	case c.AWSKMS != "":
		req.Source = "awskms"
	default:
		secret, err := remote.ReadSecret(c.File, a.in)
		if err != nil {
			return err
		}
		req.PrivateKey = []byte(secret.Reveal())
	}
	return a.onServer(ctx, "cannot import the key", func(ctx context.Context, s *remote.STS) error {
		resp, err := s.Admin.ImportKey(ctx, req)
		if err != nil {
			return err
		}
		return a.Print(resp, func() {
			if c.DryRun {
				a.showChanges(resp.GetChanges())
			}
			a.showKeys(resp.GetKeys())
		})
	})
}

func (a *app) showKeys(keys []*obov1.SigningKey) {
	rows := [][]string{{"KID", "ALG", "STATE", "WHERE", "PUBLISHED", "SIGNS FROM", "SIGNS UNTIL", "REMOVED"}}
	for _, k := range keys {
		rows = append(rows, []string{k.GetKid(), k.GetAlg(), k.GetState(), k.GetSource(), when(k.GetPublished()), when(k.GetActivate()),
			when(k.GetDeactivate()), when(k.GetRemove())})
	}
	a.Table(rows)
}
