package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

// ListKeys lists the signing keys, newest first.
func (s *Service) ListKeys(context.Context) ([]keys.Info, error) {
	return newest(s.cfg.Keys.Keys()), nil
}

// KeysResult is how the keys are after a change or, of a dry run, would be: then a key that is yet to be made has no KID.
type KeysResult struct {
	Keys     []keys.Info // newest first
	Changes  []registry.Change
	Sequence uint64 // of the last entry in the feed when keys were given up: a follower that has it takes no token of them
}

// RotateKeys publishes a successor of each key now.
func (s Session) RotateKeys(ctx context.Context, dryRun bool) (KeysResult, error) {
	p, err := s.cfg.Keys.PreviewRotation(ctx)
	return s.changeKeys(ctx, keyChange{"rotate the signing keys", p, err, dryRun}, s.cfg.Keys.Rotate)
}

// RetireKey takes a key out of use in an orderly way.
func (s Session) RetireKey(ctx context.Context, kid string, dryRun bool) (KeysResult, error) {
	if !isKeyID(kid) {
		return KeysResult{}, fmt.Errorf("%w: kid must be that of a key; `obo keys list` shows them", ErrInvalid)
	}
	p, err := s.cfg.Keys.PreviewRetirement(ctx, kid)
	return s.changeKeys(ctx, keyChange{"retire signing key " + kid, p, err, dryRun}, func(ctx context.Context) error {
		return s.cfg.Keys.Retire(ctx, kid)
	})
}

// ImportKey lets a key of the operator's succeed the one that signs.
func (s Session) ImportKey(ctx context.Context, req keys.ImportRequest, dryRun bool) (KeysResult, error) {
	if len(req.Reference) > maxReason || !printable(req.Source) || !printable(req.Reference) || (req.Source == "") != (req.Reference == "") {
		return KeysResult{}, fmt.Errorf("%w: source and reference must both name a key, or both be absent", ErrInvalid)
	}
	detail := fmt.Sprintf("import a signing key for %s from %s", clip(string(req.Algorithm)), "a file")
	if req.Source != "" {
		detail = fmt.Sprintf("import signing key %s:%s for %s", clip(req.Source), req.Reference, clip(string(req.Algorithm)))
	}
	p, err := s.cfg.Keys.PreviewImport(ctx, req)
	return s.changeKeys(ctx, keyChange{detail, p, err, dryRun}, func(ctx context.Context) error {
		_, err := s.cfg.Keys.Import(ctx, req)
		return err
	})
}

// keyChange is a change of the keys: what it would come to, or why it is refused.
type keyChange struct {
	detail  string
	preview keys.Preview
	refused error
	dryRun  bool
}

// changeKeys makes a recorded change of the keys. What is refused is not recorded: it is no change.
func (s Session) changeKeys(ctx context.Context, c keyChange, change func(context.Context) error) (KeysResult, error) {
	if c.refused != nil {
		return KeysResult{}, keysError(c.refused)
	}
	out := KeysResult{Keys: newest(c.preview.After), Changes: keyChanges(c.preview)}
	if c.dryRun {
		return out, nil
	}
	if err := s.record(ctx, store.PlatformOrg, "keys", c.detail, out.Changes); err != nil {
		return KeysResult{}, err
	}
	if err := change(ctx); err != nil {
		return KeysResult{}, keysError(err)
	}
	out.Keys = newest(s.cfg.Keys.Keys())
	return out, nil
}

func newest(infos []keys.Info) []keys.Info {
	out := slices.Clone(infos)
	slices.Reverse(out)
	return out
}

// keysError gives a refusal of the ring one of our names.
func keysError(err error) error {
	switch {
	case errors.Is(err, keys.ErrUnknown):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, keys.ErrOnly), errors.Is(err, keys.ErrWaiting):
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case errors.Is(err, keys.ErrUnwanted), errors.Is(err, keys.ErrSource):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case errors.Is(err, store.ErrConflict):
		return fmt.Errorf("%w: another replica is changing the keys: try again", ErrConflict)
	}
	return fmt.Errorf("admin: keys: %w", err)
}

// BurnRequest names signing keys that are in wrong hands.
type BurnRequest struct {
	KIDs   []string
	Reason string // for people; at most 256 bytes
	DryRun bool   // check, and say what would change
}

// maxBurnt is how many keys can be named at once.
const maxBurnt = 64

// BurnKeys gives keys up: every token that they signed is refused everywhere, and their successors sign at once.
//
// The entries in the feed come first, because they alone stop verifiers that hold a copy of the key set. From then on any
// replica that reads its keys drops the burnt ones and makes successors, so wherever this stops, it completes: at the latest when
// the keys are read next, and at once when it is called again. Until then no replica signs with a burnt key.
func (s Session) BurnKeys(ctx context.Context, req BurnRequest) (KeysResult, error) {
	if len(req.Reason) > maxReason || !printable(req.Reason) {
		return KeysResult{}, fmt.Errorf("%w: reason must be at most %d printable characters", ErrInvalid, maxReason)
	}
	if err := s.known(ctx, req.KIDs); err != nil {
		return KeysResult{}, err
	}
	p, err := s.cfg.Keys.PreviewLoss(ctx, req.KIDs)
	if err != nil {
		return KeysResult{}, keysError(err)
	}
	out := KeysResult{Keys: newest(p.After), Changes: keyChanges(p)}
	if req.DryRun {
		return out, nil
	}
	for _, kid := range req.KIDs {
		detail := "give up signing key " + kid
		if req.Reason != "" {
			detail += ": " + req.Reason
		}
		entry := revocation.NewKey(kid, req.Reason, s.cfg.Now())
		if err := s.record(ctx, store.PlatformOrg, "keys", detail, append(entryChange(entry), out.Changes...)); err != nil {
			return KeysResult{}, err
		}
		if out.Sequence, err = s.cfg.Revocations(store.PlatformOrg).Revoke(ctx, entry); err != nil {
			return KeysResult{}, fmt.Errorf("admin: give up signing key %s: %w", kid, err)
		}
	}
	if err := s.cfg.Sync(ctx); err != nil {
		return KeysResult{}, fmt.Errorf("admin: the keys are given up, but this replica has not heard of it yet: %w", err)
	}
	if err := s.cfg.Keys.Reload(ctx); err != nil {
		return KeysResult{}, fmt.Errorf("admin: the keys are given up, but their successors are not made yet: %w", err)
	}
	out.Keys = newest(s.cfg.Keys.Keys())
	return out, nil
}

// known refuses ids of no key: a misspelt one would look like a success. One that was given up before is known.
func (s *Service) known(ctx context.Context, kids []string) error {
	if len(kids) == 0 || len(kids) > maxBurnt {
		return fmt.Errorf("%w: name 1 to %d keys", ErrInvalid, maxBurnt)
	}
	if err := s.cfg.Keys.Reload(ctx); err != nil && !errors.Is(err, keys.ErrSource) { // another replica may have published it
		return fmt.Errorf("admin: keys: %w", err)
	}
	before, err := s.cfg.Revocations(store.PlatformOrg).Revocations(ctx, s.cfg.Now())
	if err != nil {
		return fmt.Errorf("admin: revocations: %w", err)
	}
	published := s.cfg.Keys.Keys()
	for _, kid := range kids {
		burnt := func(r store.Revocation) bool { return r.Kind == string(revocation.Key) && r.ID == kid }
		if !isKeyID(kid) || !slices.ContainsFunc(published, func(k keys.Info) bool { return k.KID == kid }) &&
			!slices.ContainsFunc(before, burnt) {
			return fmt.Errorf("%w: no signing key %q; `obo keys list` shows which there are", ErrNotFound, clip(kid))
		}
	}
	return nil
}

func isKeyID(kid string) bool { return kid != "" && len(kid) <= 128 && printable(kid) }
