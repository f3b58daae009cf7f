// Package pgtest gives a test a PostgreSQL database of its own, and finds or starts the server.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Variable names the environment variable that says which server to use. Its value is a connection string of a superuser,
// or of a role that may create databases and is bound by row-level security.
const Variable = "OBO_TEST_POSTGRES"

// DSN creates a fresh, empty database and returns a connection string (a URL when the server's is one) of the unprivileged
// role that owns it. Both are dropped when the test ends.
//
// The server is that of OBO_TEST_POSTGRES. Without it, the first call in a test process starts a private cluster that lives
// as long as the process (see Start). Where no server can be had the test fails; it is never skipped.
func DSN(t testing.TB) string {
	t.Helper()
	dsn, drop, err := create(server(t))
	if err != nil {
		t.Fatalf("no PostgreSQL database for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return dsn
}

// Database is DSN on this cluster. It is dropped with the cluster and not before.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	dsn, _, err := create(c.DSN())
	if err != nil {
		t.Fatalf("no PostgreSQL database for this test: %v", err)
	}
	return dsn
}

// Admin returns a connection string of the server's own role, which is usually a superuser, to the database that dsn (which
// DSN returned) names. It is for tests of what an operator may do wrong.
func Admin(t testing.TB, dsn string) string {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err == nil {
		var admin string
		if admin, err = rewrite(server(t), config.Database, "", ""); err == nil {
			return admin
		}
	}
	t.Fatal("pgtest: ", err)
	return ""
}

// server finds the server, or starts it.
func server(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv(Variable); dsn != "" {
		return dsn
	}
	cluster, err := private()
	if err != nil {
		t.Fatalf("no PostgreSQL for this test: %v", err)
	}
	return cluster.DSN()
}

// private is the process's one cluster. It needs no end of its own: the watchdog sees the process go (see Start).
var private = sync.OnceValues(func() (*Cluster, error) { return Start(context.Background(), os.Stderr) })

// create makes a database, and a role for it if the server's role may do everything: such a role is not bound by row-level
// security, and the stores refuse it.
func create(server string) (dsn string, drop func() error, err error) {
	name := "obo_test_" + strings.ToLower(rand.Text())
	password := rand.Text()
	owner := ""
	err = do(server, func(ctx context.Context, c *pgx.Conn) error {
		var super bool
		if err := c.QueryRow(ctx, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super); err != nil {
			return err
		}
		if super {
			// The name and the password hold letters, digits and underscores only.
			role := fmt.Sprintf("CREATE ROLE %s LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD '%s'", name, password)
			if _, err := c.Exec(ctx, role); err != nil {
				return err
			}
			owner = name
			if _, err := c.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s OWNER %s", name, name)); err != nil {
				_, _ = c.Exec(ctx, "DROP ROLE "+name)
				return err
			}
			return nil
		}
		_, err := c.Exec(ctx, "CREATE DATABASE "+name)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	drop = func() error {
		return do(server, func(ctx context.Context, c *pgx.Conn) error {
			if _, err := c.Exec(ctx, fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name)); err != nil || owner == "" {
				return err
			}
			_, err := c.Exec(ctx, "DROP ROLE "+owner)
			return err
		})
	}
	dsn, err = rewrite(server, name, owner, password)
	return dsn, drop, err
}

// rewrite points a connection string at another database and, if owner is given, at another role.
func rewrite(server, database, owner, password string) (string, error) {
	if !strings.HasPrefix(server, "postgres://") && !strings.HasPrefix(server, "postgresql://") {
		dsn := server + " dbname=" + database
		if owner != "" {
			dsn += " user=" + owner + " password=" + password
		}
		return dsn, nil
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("%s is not a URL", Variable)
	}
	u.Path = "/" + database
	if owner != "" {
		u.User = url.UserPassword(owner, password)
	}
	return u.String(), nil
}

// do runs f on a connection of its own.
func do(server string, f func(ctx context.Context, c *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	return f(ctx, c)
}
