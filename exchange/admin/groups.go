package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/onbehalf/obo/store"
)

// perChange is how many ids the trail keeps in one change; it cuts a longer text.
const perChange = 25

// Groups lists groups, and how many there are on all pages.
func (d Directory) Groups(ctx context.Context, q store.GroupQuery) ([]store.Group, int, error) {
	groups, total, err := d.store.Groups(ctx, q)
	if err != nil {
		return nil, 0, fmt.Errorf("admin: groups of org %s: %w", d.Org(), err)
	}
	return groups, total, nil
}

// Group finds one group.
func (d Directory) Group(ctx context.Context, id string) (store.Group, error) {
	if uuid.Validate(id) != nil { // and no engine sees what it might choke on
		return store.Group{}, fmt.Errorf("%w: group", ErrNotFound)
	}
	found, _, err := d.Groups(ctx, store.GroupQuery{ID: id, Limit: 1})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: group %q", ErrNotFound, clip(id))
	}
	if err != nil {
		return store.Group{}, err
	}
	return found[0], nil
}

// Members lists the ids of a group's users, at most limit.
func (d Directory) Members(ctx context.Context, group string, limit int) ([]string, error) {
	ids, err := d.store.Members(ctx, group, limit)
	if err != nil {
		return nil, fmt.Errorf("admin: members of a group of org %s: %w", d.Org(), err)
	}
	return ids, nil
}

// CreateGroup adds a group with its members and gives it an id.
func (d Directory) CreateGroup(ctx context.Context, g store.Group, m store.Membership) (store.Group, error) {
	now := d.session.cfg.Now().UTC()
	g.Org, g.ID, g.Version, g.Created, g.Updated = d.Org(), uuid.NewString(), 1, now, now
	return g, d.putGroup(ctx, store.Group{}, g, m)
}

// ChangeGroup changes a group and who is in it by f, which may be called again when somebody else changes it at once.
func (d Directory) ChangeGroup(
	ctx context.Context, id string, f func(store.Group) (store.Group, store.Membership, error),
) (store.Group, error) {
	for range maxTries {
		before, err := d.Group(ctx, id)
		if err != nil {
			return store.Group{}, err
		}
		after, m, err := f(before)
		if err != nil {
			return store.Group{}, err
		}
		if after == before && !m.Replace && len(m.Add) == 0 && len(m.Remove) == 0 {
			return before, nil
		}
		after.Org, after.ID, after.Version, after.Created = before.Org, before.ID, before.Version+1, before.Created
		after.Updated = d.session.cfg.Now().UTC()
		if err = d.putGroup(ctx, before, after, m); !errors.Is(err, ErrConflict) {
			return after, err
		}
	}
	return store.Group{}, fmt.Errorf("%w: group %q is being changed by others: try again", ErrConflict, clip(id))
}

func (d Directory) putGroup(ctx context.Context, before, after store.Group, m store.Membership) error {
	if after.DisplayName == "" || len(after.DisplayName) > maxGroup || !printable(after.DisplayName) {
		return fmt.Errorf("%w: displayName must be 1 to %d printable ASCII characters: policies name the group by it", ErrInvalid, maxGroup)
	}
	if len(after.ExternalID) > maxName || !oneLine(after.ExternalID) {
		return fmt.Errorf("%w: externalId must be at most %d bytes without control characters", ErrInvalid, maxName)
	}
	path, verb := "groups/"+after.DisplayName, "change a group"
	changes := difference(path, before.DisplayName, after.DisplayName)
	if before.ID == "" {
		verb, changes = "create a group", difference(path, nil, after.DisplayName)
	}
	for some := range slices.Chunk(m.Add, perChange) {
		changes = append(changes, difference(path+"/members", nil, some)...)
	}
	for some := range slices.Chunk(m.Remove, perChange) {
		changes = append(changes, difference(path+"/members", some, nil)...)
	}
	detail := fmt.Sprintf("%s; %d users join", verb, len(m.Add))
	switch {
	case m.Replace:
		detail += ", and all others leave"
	case len(m.Remove) > 0:
		detail += fmt.Sprintf(", %d leave", len(m.Remove))
	}
	if err := d.session.record(ctx, d.Org(), "directory", detail, changes); err != nil {
		return err
	}
	switch err := d.store.PutGroup(ctx, after, m); {
	case errors.Is(err, store.ErrTaken):
		return fmt.Errorf("%w: another group has that displayName", ErrTaken)
	case errors.Is(err, store.ErrConflict):
		return fmt.Errorf("%w: somebody else was faster", ErrConflict)
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: a member is no user of this directory: provision users before their groups", ErrInvalid)
	case err != nil:
		return fmt.Errorf("admin: put group of org %s: %w", d.Org(), err)
	}
	return nil
}

// DeleteGroup forgets a group. Its users stay.
func (d Directory) DeleteGroup(ctx context.Context, id string) error {
	g, err := d.Group(ctx, id)
	if err != nil {
		return err
	}
	gone := difference("groups/"+g.DisplayName, g.DisplayName, nil)
	if err := d.session.record(ctx, d.Org(), "directory", "delete a group", gone); err != nil {
		return err
	}
	if err := d.store.DeleteGroup(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) { // somebody else was faster
		return fmt.Errorf("admin: delete group of org %s: %w", d.Org(), err)
	}
	return nil
}
