package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// RotateClientSecretRequest names an agent.
type RotateClientSecretRequest struct {
	Org          delegation.OrgID
	Agent        string // its name within the org
	DropPrevious bool   // stop accepting the secret before at once
	DryRun       bool   // check, and say what would change
}

// RotateClientSecretResult shows the secret, once.
type RotateClientSecretResult struct {
	ClientID string
	Secret   telemetry.Secret // 256 random bits in base64url, so that form-encoding it changes nothing (CA1); empty of a dry run
	Changes  []registry.Change
}

// RotateClientSecret gives an agent a new client_secret. Its hash is all that is kept. The secret before goes on working, so
// that the agent can be moved over, until the next rotation.
func (s Session) RotateClientSecret(ctx context.Context, req RotateClientSecretRequest) (RotateClientSecretResult, error) {
	if err := orgID(req.Org); err != nil {
		return RotateClientSecretResult{}, err
	}
	org, err := s.org(ctx, req.Org)
	if err != nil {
		return RotateClientSecretResult{}, err
	}
	client, ok := org.Client(req.Agent)
	if !ok {
		return RotateClientSecretResult{}, fmt.Errorf("%w: agent %q of org %s", ErrNotFound, clip(req.Agent), req.Org)
	}
	secret := random()
	changes, err := s.renew(ctx, renewal{
		org: req.Org, client: client.Name, path: "agents/" + client.Name + "/client_secrets", resource: client.ClientID, what: "client secret",
		live: client.Secrets, secret: secret, drop: req.DropPrevious, dryRun: req.DryRun,
	})
	if err != nil || req.DryRun {
		secret = ""
	}
	return RotateClientSecretResult{ClientID: client.ClientID, Secret: telemetry.Secret(secret), Changes: changes}, err
}

// random is a secret of 256 random bits, in base64url.
func random() string {
	var bits [32]byte
	_, _ = rand.Read(bits[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(bits[:])
}

// renewal is a new secret of a client of an org.
type renewal struct {
	org            delegation.OrgID
	client         string // as the store knows it
	path, resource string // where it is, for the trail
	what           string // it is, for people
	live           [][32]byte
	secret         string
	drop, dryRun   bool
}

// renew keeps the hash of a secret, and forgets all but the one before.
func (s Session) renew(ctx context.Context, r renewal) ([]registry.Change, error) {
	keep, before := registry.MaxSecrets, "stays"
	if r.drop {
		keep, before = 1, "is dropped"
	}
	stored := store.ClientSecret{Agent: r.client, Hash: sha256.Sum256([]byte(r.secret)), Created: s.cfg.Now()}
	live := append([][32]byte{stored.Hash}, r.live...)
	changes := secretChange(r.path, r.live, live[:min(keep, len(live))])
	if r.dryRun {
		return changes, nil
	}
	if err := s.record(ctx, r.org, r.resource, fmt.Sprintf("new %s; the one before %s", r.what, before), changes); err != nil {
		return nil, err
	}
	if err := s.cfg.Config(r.org).PutClientSecret(ctx, stored, keep); err != nil {
		return nil, fmt.Errorf("admin: %s of %s: %w", r.what, r.resource, err)
	}
	s.seen(ctx)
	return changes, nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
