package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Users lists the users that q chooses, and how many there are of them on all pages.
func (o *STSOrg) Users(ctx context.Context, q store.UserQuery) ([]store.User, int, error) {
	const columns = "SELECT org, id, user_name, external_id, email_key, active, document, version, created, updated"
	where, args := conditions(o.id, q.Conditions())
	out, total, err := paged(ctx, o.s.read, columns, " FROM directory_users"+where, args, q.Offset, q.Limit,
		func(rows *sql.Rows, u *store.User) error {
			return rows.Scan(&u.Org, &u.ID, &u.UserName, &u.ExternalID, &u.Email, &u.Active, &u.Document, &u.Version,
				instant{&u.Created}, instant{&u.Updated})
		})
	if err != nil {
		return nil, 0, fmt.Errorf("sqlite: users of %s: %w", o.id, err)
	}
	return out, total, nil
}

// PutUser stores a user, whose version must be the current one plus 1 (1 for the first), else store.ErrConflict. When another
// user has its name or external id it is store.ErrTaken. With end, the revocation is added in the same commit.
func (o *STSOrg) PutUser(ctx context.Context, u store.User, end *store.Revocation) error {
	if err := errors.Join(own(o.id, u.Org), ownEnd(o.id, end)); err != nil {
		return err
	}
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		const others = `SELECT EXISTS (SELECT 1 FROM directory_users WHERE org = ?1 AND id <> ?2
			AND (name_key = ?3 OR external_id = ?4 AND ?4 <> ''))`
		if err := free(ctx, conn, others, string(o.id), u.ID, store.Fold(u.UserName), u.ExternalID); err != nil {
			return err
		}
		row := []any{string(o.id), u.ID, store.Fold(u.UserName), u.UserName, u.ExternalID, store.Fold(u.Email), u.Active, blob(u.Document),
			u.Version, u.Created.UnixMicro(), u.Updated.UnixMicro()}
		if err := swapped(conn.ExecContext(ctx, `INSERT INTO directory_users SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
			WHERE ?9 = coalesce((SELECT version FROM directory_users WHERE org = ?1 AND id = ?2), 0) + 1
			ON CONFLICT (org, id) DO UPDATE SET name_key = ?3, user_name = ?4, external_id = ?5, email_key = ?6, active = ?7,
				document = ?8, version = ?9, updated = ?11`, row...)); err != nil {
			return err
		}
		return o.end(ctx, conn, end)
	})
	if err != nil {
		return fmt.Errorf("sqlite: put user of %s: %w", o.id, err)
	}
	if end != nil {
		o.s.hints.send()
	}
	return nil
}

// DeleteUser forgets a user of that version, else store.ErrConflict, in all groups too. With end, the revocation is added in the
// same commit.
func (o *STSOrg) DeleteUser(ctx context.Context, id string, version int64, end *store.Revocation) error {
	if err := ownEnd(o.id, end); err != nil {
		return err
	}
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		if err := swapped(conn.ExecContext(ctx, "DELETE FROM directory_users WHERE org = ? AND id = ? AND version = ?",
			string(o.id), id, version)); err != nil {
			return err
		}
		return o.end(ctx, conn, end)
	})
	if err != nil {
		return fmt.Errorf("sqlite: delete user of %s: %w", o.id, err)
	}
	if end != nil {
		o.s.hints.send()
	}
	return nil
}

func (o *STSOrg) end(ctx context.Context, conn *sql.Conn, end *store.Revocation) error {
	if end == nil {
		return nil
	}
	_, err := revoke(ctx, conn, o.id, *end)
	return err
}

// Groups lists the groups that q chooses, and how many there are of them on all pages.
func (o *STSOrg) Groups(ctx context.Context, q store.GroupQuery) ([]store.Group, int, error) {
	const columns = "SELECT org, id, display_name, external_id, version, created, updated"
	where, args := conditions(o.id, q.Conditions())
	if q.Member != "" {
		where += " AND id IN (SELECT group_id FROM directory_members WHERE org = ? AND user_id = ?)"
		args = append(args, string(o.id), q.Member)
	}
	out, total, err := paged(ctx, o.s.read, columns, " FROM directory_groups"+where, args, q.Offset, q.Limit,
		func(rows *sql.Rows, g *store.Group) error {
			return rows.Scan(&g.Org, &g.ID, &g.DisplayName, &g.ExternalID, &g.Version, instant{&g.Created}, instant{&g.Updated})
		})
	if err != nil {
		return nil, 0, fmt.Errorf("sqlite: groups of %s: %w", o.id, err)
	}
	return out, total, nil
}

// Members lists the ids of a group's users in their order, at most limit.
func (o *STSOrg) Members(ctx context.Context, group string, limit int) ([]string, error) {
	rows, err := o.s.read.QueryContext(ctx,
		"SELECT user_id FROM directory_members WHERE org = ? AND group_id = ? ORDER BY user_id LIMIT ?", string(o.id), group, limit)
	out, err := collect(rows, err, func(rows *sql.Rows, id *string) error { return rows.Scan(id) })
	if err != nil {
		return nil, fmt.Errorf("sqlite: members of %s: %w", o.id, err)
	}
	return out, nil
}

// PutGroup stores a group, whose version must be the current one plus 1 (1 for the first), else store.ErrConflict, and changes
// who is in it. When another group has its name it is store.ErrTaken; when there is no such user, store.ErrNotFound.
func (o *STSOrg) PutGroup(ctx context.Context, g store.Group, m store.Membership) error {
	if err := own(o.id, g.Org); err != nil {
		return err
	}
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		const others = "SELECT EXISTS (SELECT 1 FROM directory_groups WHERE org = ? AND id <> ? AND name_key = ?)"
		if err := free(ctx, conn, others, string(o.id), g.ID, store.Fold(g.DisplayName)); err != nil {
			return err
		}
		if err := swapped(conn.ExecContext(ctx, `INSERT INTO directory_groups SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
			WHERE ?6 = coalesce((SELECT version FROM directory_groups WHERE org = ?1 AND id = ?2), 0) + 1
			ON CONFLICT (org, id) DO UPDATE SET name_key = ?3, display_name = ?4, external_id = ?5, version = ?6, updated = ?8`,
			string(o.id), g.ID, store.Fold(g.DisplayName), g.DisplayName, g.ExternalID, g.Version, g.Created.UnixMicro(), g.Updated.UnixMicro(),
		)); err != nil {
			return err
		}
		return o.change(ctx, conn, g.ID, m)
	})
	if err != nil {
		return fmt.Errorf("sqlite: put group of %s: %w", o.id, err)
	}
	return nil
}

func (o *STSOrg) change(ctx context.Context, conn *sql.Conn, group string, m store.Membership) error {
	if m.Replace {
		if _, err := conn.ExecContext(ctx, "DELETE FROM directory_members WHERE org = ? AND group_id = ?", string(o.id), group); err != nil {
			return err
		}
	}
	for _, id := range m.Remove {
		if _, err := conn.ExecContext(ctx, "DELETE FROM directory_members WHERE org = ? AND group_id = ? AND user_id = ?",
			string(o.id), group, id); err != nil {
			return err
		}
	}
	for _, id := range m.Add {
		known, err := changed(conn.ExecContext(ctx, `INSERT INTO directory_members SELECT org, ?2, id FROM directory_users WHERE org = ?1 AND id = ?3
			ON CONFLICT DO UPDATE SET user_id = excluded.user_id`, string(o.id), group, id))
		if err != nil {
			return err
		}
		if !known {
			return store.ErrNotFound
		}
	}
	return nil
}

// DeleteGroup forgets a group, else store.ErrNotFound. Its users stay.
func (o *STSOrg) DeleteGroup(ctx context.Context, id string) error {
	err := o.s.update(ctx, func(ctx context.Context, conn *sql.Conn) error {
		ok, err := changed(conn.ExecContext(ctx, "DELETE FROM directory_groups WHERE org = ? AND id = ?", string(o.id), id))
		if err == nil && !ok {
			err = store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: delete group of %s: %w", o.id, err)
	}
	return nil
}

// conditions is the WHERE of an org's rows that have what is named.
func conditions(org delegation.OrgID, named []store.Condition) (string, []any) {
	var where strings.Builder
	where.WriteString(" WHERE org = ?")
	args := []any{string(org)}
	for _, c := range named {
		where.WriteString(" AND " + c.Column + " = ?") // a name of package store's
		args = append(args, c.Value)
	}
	return where.String(), args
}

// paged reads one page and the number of all rows, as of one moment.
func paged[T any](
	ctx context.Context, db *sql.DB, columns, from string, args []any, offset, limit int, scan func(*sql.Rows, *T) error,
) ([]T, int, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, 0, err
	}
	defer tx.Rollback()
	var total int
	if err := tx.QueryRowContext(ctx, "SELECT count(*)"+from, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	rows, err := tx.QueryContext(ctx, columns+from+" ORDER BY id LIMIT ? OFFSET ?",
		append(args, min(max(limit, 0), store.MaxPage), max(offset, 0))...)
	out, err := collect(rows, err, scan)
	return out, total, err
}

// free answers store.ErrTaken when the query finds somebody else.
func free(ctx context.Context, conn *sql.Conn, query string, args ...any) error {
	var taken bool
	err := conn.QueryRowContext(ctx, query, args...).Scan(&taken)
	if err == nil && taken {
		err = store.ErrTaken
	}
	return err
}

// swapped answers store.ErrConflict when a compare-and-swap changed nothing.
func swapped(r sql.Result, err error) error {
	ok, err := changed(r, err)
	if err == nil && !ok {
		err = store.ErrConflict
	}
	return err
}

func ownEnd(id delegation.OrgID, end *store.Revocation) error {
	if end == nil {
		return nil
	}
	return own(id, end.Org)
}
