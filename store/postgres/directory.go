package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Users lists the users that q chooses, and how many there are of them on all pages.
func (o *STSOrg) Users(ctx context.Context, q store.UserQuery) ([]store.User, int, error) {
	const columns = "SELECT org, id, user_name, external_id, email_key, active, document, version, created, updated"
	where, args := conditions(o.id, q.Conditions())
	out, total, err := paged(ctx, o, columns, " FROM directory_users"+where, args, q.Offset, q.Limit,
		func(rows pgx.Rows, u *store.User) error {
			return rows.Scan(&u.Org, &u.ID, &u.UserName, &u.ExternalID, &u.Email, &u.Active, &u.Document, &u.Version, &u.Created, &u.Updated)
		})
	if err != nil {
		return nil, 0, fmt.Errorf("postgres: users of %s: %w", o.id, err)
	}
	return out, total, nil
}

// PutUser stores a user, whose version must be the current one plus 1 (1 for the first), else store.ErrConflict. When another
// user has its name or external id it is store.ErrTaken. With end, the revocation is added in the same commit.
func (o *STSOrg) PutUser(ctx context.Context, u store.User, end *store.Revocation) error {
	if err := errors.Join(own(o.id, u.Org), ownEnd(o.id, end)); err != nil {
		return err
	}
	err := o.s.update(ctx, orgScope(o.id), lockChanges, func(tx pgx.Tx) error {
		const others = `SELECT EXISTS (SELECT FROM directory_users WHERE org = $1 AND id <> $2
			AND (name_key = $3 OR external_id = $4 AND $4 <> ''))`
		if err := free(ctx, tx, others, string(o.id), u.ID, store.Fold(u.UserName), u.ExternalID); err != nil {
			return err
		}
		if err := swapped(tx.Exec(ctx, `INSERT INTO directory_users SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
			WHERE $9 = coalesce((SELECT version FROM directory_users WHERE org = $1 AND id = $2), 0) + 1
			ON CONFLICT (org, id) DO UPDATE SET name_key = $3, user_name = $4, external_id = $5, email_key = $6, active = $7,
				document = $8, version = $9, updated = $11`,
			string(o.id), u.ID, store.Fold(u.UserName), u.UserName, u.ExternalID, store.Fold(u.Email), u.Active, bytes(u.Document),
			u.Version, u.Created, u.Updated)); err != nil {
			return err
		}
		return o.end(ctx, tx, end)
	})
	if err != nil {
		return fmt.Errorf("postgres: put user of %s: %w", o.id, err)
	}
	return nil
}

// DeleteUser forgets a user of that version, else store.ErrConflict, in all groups too. With end, the revocation is added in the
// same commit.
func (o *STSOrg) DeleteUser(ctx context.Context, id string, version int64, end *store.Revocation) error {
	if err := ownEnd(o.id, end); err != nil {
		return err
	}
	err := o.s.update(ctx, orgScope(o.id), lockChanges, func(tx pgx.Tx) error {
		if err := swapped(tx.Exec(ctx, "DELETE FROM directory_users WHERE org = $1 AND id = $2 AND version = $3",
			string(o.id), id, version)); err != nil {
			return err
		}
		return o.end(ctx, tx, end)
	})
	if err != nil {
		return fmt.Errorf("postgres: delete user of %s: %w", o.id, err)
	}
	return nil
}

func (o *STSOrg) end(ctx context.Context, tx pgx.Tx, end *store.Revocation) error {
	if end == nil {
		return nil
	}
	_, err := revoke(ctx, tx, o.id, *end)
	return err
}

// Groups lists the groups that q chooses, and how many there are of them on all pages.
func (o *STSOrg) Groups(ctx context.Context, q store.GroupQuery) ([]store.Group, int, error) {
	const columns = "SELECT org, id, display_name, external_id, version, created, updated"
	where, args := conditions(o.id, q.Conditions())
	if q.Member != "" {
		args = append(args, q.Member)
		where += " AND id IN (SELECT group_id FROM directory_members WHERE org = $1 AND user_id = $" + strconv.Itoa(len(args)) + ")"
	}
	out, total, err := paged(ctx, o, columns, " FROM directory_groups"+where, args, q.Offset, q.Limit,
		func(rows pgx.Rows, g *store.Group) error {
			return rows.Scan(&g.Org, &g.ID, &g.DisplayName, &g.ExternalID, &g.Version, &g.Created, &g.Updated)
		})
	if err != nil {
		return nil, 0, fmt.Errorf("postgres: groups of %s: %w", o.id, err)
	}
	return out, total, nil
}

// Members lists the ids of a group's users in their order, at most limit.
func (o *STSOrg) Members(ctx context.Context, group string, limit int) ([]string, error) {
	out, err := collect(ctx, o.s.database, orgScope(o.id), func(rows pgx.Rows, id *string) error { return rows.Scan(id) },
		"SELECT user_id FROM directory_members WHERE org = $1 AND group_id = $2 ORDER BY user_id LIMIT $3", string(o.id), group, limit)
	if err != nil {
		return nil, fmt.Errorf("postgres: members of %s: %w", o.id, err)
	}
	return out, nil
}

// PutGroup stores a group, whose version must be the current one plus 1 (1 for the first), else store.ErrConflict, and changes
// who is in it. When another group has its name it is store.ErrTaken; when there is no such user, store.ErrNotFound.
func (o *STSOrg) PutGroup(ctx context.Context, g store.Group, m store.Membership) error {
	if err := own(o.id, g.Org); err != nil {
		return err
	}
	err := o.s.update(ctx, orgScope(o.id), lockDirectory, func(tx pgx.Tx) error {
		const others = "SELECT EXISTS (SELECT FROM directory_groups WHERE org = $1 AND id <> $2 AND name_key = $3)"
		if err := free(ctx, tx, others, string(o.id), g.ID, store.Fold(g.DisplayName)); err != nil {
			return err
		}
		if err := swapped(tx.Exec(ctx, `INSERT INTO directory_groups SELECT $1, $2, $3, $4, $5, $6, $7, $8
			WHERE $6 = coalesce((SELECT version FROM directory_groups WHERE org = $1 AND id = $2), 0) + 1
			ON CONFLICT (org, id) DO UPDATE SET name_key = $3, display_name = $4, external_id = $5, version = $6, updated = $8`,
			string(o.id), g.ID, store.Fold(g.DisplayName), g.DisplayName, g.ExternalID, g.Version, g.Created, g.Updated)); err != nil {
			return err
		}
		return o.change(ctx, tx, g.ID, m)
	})
	if err != nil {
		return fmt.Errorf("postgres: put group of %s: %w", o.id, err)
	}
	return nil
}

func (o *STSOrg) change(ctx context.Context, tx pgx.Tx, group string, m store.Membership) error {
	if m.Replace {
		if _, err := tx.Exec(ctx, "DELETE FROM directory_members WHERE org = $1 AND group_id = $2", string(o.id), group); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, "DELETE FROM directory_members WHERE org = $1 AND group_id = $2 AND user_id = ANY($3)",
		string(o.id), group, m.Remove); err != nil {
		return err
	}
	var known int
	// The lock keeps a user from being deleted between the look and the commit, which the foreign key would refuse.
	err := tx.QueryRow(ctx, `WITH known AS (
			SELECT id FROM directory_users WHERE org = $1 AND id = ANY($3) FOR KEY SHARE
		), joined AS (
			INSERT INTO directory_members SELECT $1, $2, id FROM known ON CONFLICT DO NOTHING
		) SELECT count(*) FROM known`, string(o.id), group, m.Add).Scan(&known)
	if err == nil && known != len(slices.Compact(slices.Sorted(slices.Values(m.Add)))) {
		err = store.ErrNotFound
	}
	return err
}

// DeleteGroup forgets a group, else store.ErrNotFound. Its users stay.
func (o *STSOrg) DeleteGroup(ctx context.Context, id string) error {
	n, err := o.s.exec(ctx, orgScope(o.id), statement{"DELETE FROM directory_groups WHERE org = $1 AND id = $2", []any{string(o.id), id}})
	if err == nil && n == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("postgres: delete group of %s: %w", o.id, err)
	}
	return nil
}

// conditions is the WHERE of an org's rows that have what is named.
func conditions(org delegation.OrgID, named []store.Condition) (string, []any) {
	var where strings.Builder
	where.WriteString(" WHERE org = $1")
	args := []any{string(org)}
	for _, c := range named {
		args = append(args, c.Value)
		where.WriteString(" AND " + c.Column + " = $" + strconv.Itoa(len(args))) // a name of package store's
	}
	return where.String(), args
}

// paged reads one page and the number of all rows, as of one moment.
func paged[T any](
	ctx context.Context, o *STSOrg, columns, from string, args []any, offset, limit int, scan func(pgx.Rows, *T) error,
) (out []T, total int, err error) {
	err = pgx.BeginTxFunc(ctx, o.s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		s := orgScope(o.id)
		limits := append(args[:len(args):len(args)], min(max(limit, 0), store.MaxPage), max(offset, 0))
		b := batch(s, statement{"SELECT count(*)" + from, args}, statement{
			fmt.Sprintf("%s%s ORDER BY id LIMIT $%d OFFSET $%d", columns, from, len(args)+1, len(args)+2), limits,
		})
		results := tx.SendBatch(ctx, b)
		defer results.Close()
		if _, err := results.Exec(); err != nil {
			return err
		}
		if err := results.QueryRow().Scan(&total); err != nil {
			return err
		}
		rows, err := results.Query()
		if err != nil {
			return err
		}
		out, err = gather(rows, scan)
		return err
	})
	return out, total, err
}

// free answers store.ErrTaken when the query finds somebody else.
func free(ctx context.Context, tx pgx.Tx, query string, args ...any) error {
	var taken bool
	err := tx.QueryRow(ctx, query, args...).Scan(&taken)
	if err == nil && taken {
		err = store.ErrTaken
	}
	return err
}

// swapped answers store.ErrConflict when a compare-and-swap changed nothing.
func swapped(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.RowsAffected() == 0 {
		err = store.ErrConflict
	}
	return err
}

// ownEnd is own for the revocation that goes with a change, if any.
func ownEnd(id delegation.OrgID, end *store.Revocation) error {
	if end == nil {
		return nil
	}
	return own(id, end.Org)
}
