package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestRewrite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ server, owner, want string }{
		{"postgres://admin:pw@db:5433/postgres?sslmode=disable", "o", "postgres://o:p@db:5433/d?sslmode=disable"},
		{"postgres://admin@/postgres?host=%2Ftmp%2Fx", "o", "postgres://o:p@/d?host=%2Ftmp%2Fx"},
		{"postgresql://admin:pw@db/postgres", "", "postgresql://admin:pw@db/d"},
		{"host=db user=admin", "o", "host=db user=admin dbname=d user=o password=p"},
		{"host=db user=admin", "", "host=db user=admin dbname=d"},
	} {
		got, err := rewrite(c.server, "d", c.owner, "p")
		if err != nil || got != c.want {
			t.Errorf("rewrite(%q, owner %q) = %q, %v; want %q", c.server, c.owner, got, err, c.want)
		}
		config, err := pgx.ParseConfig(got)
		if err != nil || config.Database != "d" || (c.owner != "" && (config.User != c.owner || config.Password != "p")) {
			t.Errorf("%q means %+v, %v", got, config, err)
		}
	}
}

// Each database is empty, belongs to an unprivileged role, and is gone when its test is.
func TestDSN(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	t.Run("use", func(t *testing.T) {
		for range 2 {
			dsn := DSN(t)
			c, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(t.Context())
			var name string
			var privileged bool
			var tables int
			err = c.QueryRow(t.Context(), `SELECT current_database(), rolsuper OR rolbypassrls OR rolcreaterole,
				(SELECT count(*) FROM pg_tables WHERE schemaname = 'public') FROM pg_roles WHERE rolname = current_user`).
				Scan(&name, &privileged, &tables)
			if err != nil || privileged || tables != 0 || names[name] {
				t.Errorf("database %s: privileged %v, %d tables, seen %v, error %v", name, privileged, tables, names[name], err)
			}
			names[name] = true
		}
	})
	c, err := pgx.Connect(t.Context(), server(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for name := range names {
		var left int
		err := c.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_database WHERE datname = $1)
			+ (SELECT count(*) FROM pg_roles WHERE rolname = $1)`, name).Scan(&left)
		if err != nil || left != 0 {
			t.Errorf("%s: %d left behind, error %v", name, left, err)
		}
	}
}
