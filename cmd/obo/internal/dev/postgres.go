package dev

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	_ "github.com/onbehalf/obo/store/postgres" // its driver, by the name "pgx"
)

// databases are the two databases of an environment, each with a role of its own, as in production: the token server's role
// cannot read the executor's data, nor the other way round, and row-level security binds both.
type databases struct {
	admin string // DSN
	names []string
	dsn   map[string]string // by server
}

// provision makes the roles and databases on a server, unless they are there. The DSN's role must be allowed to.
func provision(ctx context.Context, dsn, tag string) (*databases, error) {
	base, err := url.Parse(dsn)
	if err != nil || base.Scheme != "postgres" && base.Scheme != "postgresql" {
		return nil, explain.Misuse("cannot use the PostgreSQL connection string", "it is no URL",
			"write it as postgres://user:password@host:port/database")
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	d := &databases{admin: dsn, dsn: map[string]string{}}
	for _, server := range []string{"sts", "executor"} {
		name := "obo_dev_" + tag + "_" + server
		password := randomSecret().Reveal()
		if err := provisionOne(ctx, db, name, password); err != nil {
			return nil, explain.Failure("cannot make the database "+name, err,
				"the role of --postgres needs CREATEROLE and CREATEDB, as a superuser has")
		}
		u := *base
		u.User, u.Path = url.UserPassword(name, password), "/"+name
		q := u.Query()
		q.Del("user")
		q.Del("password")
		q.Del("dbname")
		u.RawQuery = q.Encode()
		d.names = append(d.names, name)
		d.dsn[server] = u.String()
	}
	return d, nil
}

// provisionOne makes one role and its database. Names and passwords are of our own making, [a-zA-Z0-9_-] only.
func provisionOne(ctx context.Context, db *sql.DB, name, password string) error {
	var role, database bool
	err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1),
		EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&role, &database)
	if err != nil {
		return err
	}
	verb := "CREATE"
	if role {
		verb = "ALTER"
	}
	if _, err := db.ExecContext(ctx, fmt.Sprintf(`%s ROLE "%s" LOGIN PASSWORD '%s'`, verb, name, password)); err != nil {
		return err
	}
	if database {
		return nil
	}
	if _, err := db.ExecContext(ctx, fmt.Sprintf(`GRANT "%s" TO CURRENT_USER`, name)); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(`CREATE DATABASE "%s" OWNER "%s"`, name, name))
	return err
}

// drop removes the databases and roles of a temporary environment; it does what it can.
func (d *databases) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	db, err := sql.Open("pgx", d.admin)
	if err != nil {
		return
	}
	defer db.Close()
	for _, name := range d.names {
		_, _ = db.ExecContext(ctx, fmt.Sprintf(`DROP DATABASE IF EXISTS "%s" WITH (FORCE)`, name))
		_, _ = db.ExecContext(ctx, fmt.Sprintf(`DROP ROLE IF EXISTS "%s"`, name))
	}
}
