package executor

import (
	"context"
	"errors"
	"fmt"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

// Vault is how an org's data key stands, and what is sealed with it.
func (a *Admin) Vault(ctx context.Context, org string) (vault.Standing, error) {
	id, err := orgID(org)
	if err != nil {
		return vault.Standing{}, err
	}
	s, err := a.Keys.Standing(ctx, id)
	return s, vaultAdminError(err)
}

// RotateDataKeyRequest names an org.
type RotateDataKeyRequest struct {
	Org    string
	DryRun bool                  // check everything, and say what would be
	Told   func(done, total int) // how many credentials are sealed with the new key, and how many there are
}

// rotationRounds bounds how often a rotation begins anew because somebody else wrote meanwhile.
const rotationRounds = 100

// RotateDataKey lets a new data key seal, seals every credential of the org again, and drops the key of before, while calls go on. It
// can be ended at any time: whoever calls it next goes on with the key that was made. It answers with what changed or, of a dry run,
// would; nothing, when the org has no data key.
func (a Session) RotateDataKey(ctx context.Context, req RotateDataKeyRequest) ([]audit.Change, error) {
	id, err := orgID(req.Org)
	if err != nil {
		return nil, err
	}
	before, err := a.Keys.Standing(ctx, id)
	if err != nil || len(before.Keys) == 0 {
		return nil, vaultAdminError(err)
	}
	sealed := before.Sealed[before.Keys[0]]
	total := sealed + before.Left()
	if len(before.Keys) == 1 {
		sealed = 0 // with the key that is to come
	}
	req.Told(sealed, total)
	if req.DryRun {
		after := `["a new key"]`
		if len(before.Keys) > 1 {
			after = keyNames(before.Keys[:1])
		}
		return []audit.Change{{Path: "data_key", Before: keyNames(before.Keys), After: after}}, nil
	}
	r := rotation{Session: a, org: id, told: req.Told}
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	return []audit.Change{{Path: "data_key", Before: keyNames(before.Keys), After: keyNames(r.now.Keys)}}, nil
}

// rotation is one that runs.
type rotation struct {
	Session
	org     delegation.OrgID
	told    func(done, total int)
	renewed bool
	now     vault.Standing
}

// run makes step after step, each by how things stand then, until the org has one key, which is not that of the beginning.
func (r *rotation) run(ctx context.Context) error {
	for range rotationRounds {
		var err error
		if r.now, err = r.Keys.Standing(ctx, r.org); err != nil {
			return vaultAdminError(err)
		}
		switch left := r.now.Left(); {
		case len(r.now.Keys) == 0:
			return &Error{Reason: Conflict, Description: "the org's data key was destroyed meanwhile; there is nothing to rotate"}
		case len(r.now.Keys) == 1 && r.renewed:
			return nil
		case len(r.now.Keys) == 1:
			err = r.renew(ctx)
		case left > 0:
			err = r.walk(ctx, left)
		default:
			err = r.drop(ctx)
		}
		if refused, ok := errors.AsType[*Error](err); ok && refused.Reason == Conflict {
			continue // somebody else writes too; look again
		}
		if err != nil {
			return err
		}
		r.renewed = true
	}
	return &Error{Reason: Conflict, Description: "others keep changing the org's connections or its data key; everything opens, and calling " +
		"this again goes on from here"}
}

func (r *rotation) renew(ctx context.Context) error {
	step, err := r.Keys.Renew(ctx, r.org)
	if err != nil {
		return vaultAdminError(err)
	}
	return r.take(ctx, fmt.Sprintf("data key %s seals from now on", step.After[0]), step)
}

func (r *rotation) walk(ctx context.Context, left int) error {
	done := r.now.Sealed[r.now.Keys[0]]
	total := done + left
	err := r.Keys.Walk(ctx, r.org, func() error {
		done++
		r.told(done, max(done, total)) // others may have put more meanwhile
		return ctx.Err()
	})
	return vaultAdminError(err)
}

func (r *rotation) drop(ctx context.Context) error {
	old := r.now.Keys[len(r.now.Keys)-1]
	step, err := r.Keys.Drop(ctx, r.org, old)
	if err != nil {
		return vaultAdminError(err)
	}
	sealed := r.now.Sealed[r.now.Keys[0]]
	return r.take(ctx, fmt.Sprintf("drop data key %s: %d credentials are sealed with %s", old, sealed, r.now.Keys[0]), step)
}

// take makes a step, on record first.
func (r *rotation) take(ctx context.Context, what string, step vault.Step) error {
	changes := []audit.Change{{Path: "data_key", Before: keyNames(step.Before), After: keyNames(step.After)}}
	return r.change(ctx, change{org: r.org, what: what, changes: changes}, func() error { return step.Take(ctx) })
}

func keyNames(ids []seal.ID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = id.String()
	}
	return text(names)
}

// vaultAdminError says what to do about a credential or a data key that does not open. Waiting does not help.
func vaultAdminError(err error) error {
	switch {
	case errors.Is(err, vault.ErrOpen):
		return &Error{Reason: InvalidRequest, Field: "org_id", cause: err, Description: err.Error() + ": the key of before stays as long as something is " +
			"sealed with it that does not open. Delete that connection or put its credential again, and call this again"}
	case errors.Is(err, vault.ErrDestroyed), errors.Is(err, store.ErrConflict):
		return &Error{Reason: Conflict, Description: "it was changed meanwhile", cause: err}
	}
	return adminError(err)
}
