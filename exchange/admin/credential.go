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
	keep := registry.MaxSecrets
	if req.DropPrevious {
		keep = 1
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails since Go 1.24
	secret := base64.RawURLEncoding.EncodeToString(random[:])
	stored := store.ClientSecret{Agent: client.Name, Hash: sha256.Sum256([]byte(secret)), Created: s.cfg.Now()}
	live := append([][32]byte{stored.Hash}, client.Secrets...)
	changes := secretChange(client.Name, client.Secrets, live[:min(keep, len(live))])
	if req.DryRun {
		return RotateClientSecretResult{ClientID: client.ClientID, Changes: changes}, nil
	}
	if err := s.record(ctx, req.Org, client.ClientID, rotation(req), changes); err != nil {
		return RotateClientSecretResult{}, err
	}
	if err := s.cfg.Config(req.Org).PutClientSecret(ctx, stored, keep); err != nil {
		return RotateClientSecretResult{}, fmt.Errorf("admin: client secret of %s: %w", client.ClientID, err)
	}
	s.seen(ctx)
	return RotateClientSecretResult{ClientID: client.ClientID, Secret: telemetry.Secret(secret), Changes: changes}, nil
}

func rotation(req RotateClientSecretRequest) string {
	if req.DropPrevious {
		return "new client secret; the one before is dropped"
	}
	return "new client secret; the one before stays"
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
