package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/postgres"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

func openSTS(t *testing.T, dsn string) *postgres.STS {
	t.Helper()
	s, err := postgres.OpenSTS(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within runs a statement of plain SQL in a transaction with one setting and takes it back. It returns the number of rows.
func within(t *testing.T, c *pgx.Conn, setting, value, statement string) (rows int64, err error) {
	t.Helper()
	tx, err := c.Begin(t.Context())
	try(t, err)
	defer tx.Rollback(t.Context())
	if setting != "" {
		_, err = tx.Exec(t.Context(), "SELECT set_config($1, $2, true)", setting, value)
		try(t, err)
	}
	tag, err := tx.Exec(t.Context(), statement)
	return tag.RowsAffected(), err
}

// tables lists the store's tables and whether each has an org.
func tables(t *testing.T, c *pgx.Conn) map[string]bool {
	t.Helper()
	rows, err := c.Query(t.Context(), `SELECT relname, relrowsecurity AND relforcerowsecurity,
			EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'org')
		FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'goose_db_version'`)
	try(t, err)
	out := map[string]bool{}
	var name string
	var forced, org bool
	_, err = pgx.ForEachRow(rows, []any{&name, &forced, &org}, func() error {
		if !forced {
			t.Errorf("table %s has no forced row-level security", name)
		}
		out[name] = org
		return nil
	})
	try(t, err)
	return out
}

// The second lock: plain SQL without any WHERE, by the owner of the tables, sees and changes one org's rows alone.
func TestSecondLock(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	stsDSN, executorDSN := pgtest.DSN(t), pgtest.DSN(t)
	s := openSTS(t, stsDSN)
	e, err := postgres.OpenExecutor(ctx, executorDSN)
	try(t, err)
	defer e.Close()
	for _, id := range []string{"mine", "theirs"} {
		org, calls := s.Org(delegation.OrgID(id)), e.Org(delegation.OrgID(id))
		try(t, org.PutConfig(ctx, store.OrgConfig{Version: 1}))
		try(t, org.PutClientSecret(ctx, store.ClientSecret{Agent: "a"}, 1))
		try(t, org.Consume(ctx, [32]byte{}, time.Now()))
		try(t, org.PutActivity(ctx, map[string]time.Time{"a": time.Now()}))
		try(t, org.PutSignalCredential(ctx, store.SignalCredential{Stream: "s", Sealed: []byte{1}}))
		try(t, org.PutSignalPoll(ctx, store.SignalPoll{Stream: "s"}, time.Now()))
		try(t, org.PutUser(ctx, store.User{ID: "u", Version: 1}, nil))
		try(t, org.PutGroup(ctx, store.Group{ID: "g", Version: 1}, store.Membership{Add: []string{"u"}}))
		_, err := org.Revoke(ctx, store.Revocation{Kind: "org", ID: id})
		try(t, err)
		records := []store.AuditRecord{{Org: delegation.OrgID(id), ActionID: "a"}}
		try(t, s.AppendAudit(ctx, records))
		try(t, e.AppendAudit(ctx, records))
		try(t, calls.CreateDataKey(ctx, store.DataKey{}))
		try(t, calls.DropDataKey(ctx, []byte{}, []byte{}, make([]byte, 5)))
		try(t, calls.PutConnection(ctx, store.Connection{ID: "c", Version: 1, Status: "active"}, ""))
		_, err = calls.AcquireRefresh(ctx, "c", time.Now(), time.Now())
		try(t, err)
		try(t, calls.PutClient(ctx, store.Client{Name: "p", Version: 1}))
		try(t, calls.PutAuthorization(ctx, store.Authorization{ID: "a", Version: 1}))
		try(t, calls.PutWebhook(ctx, store.Webhook{Version: 1}))
		try(t, calls.PutTheme(ctx, store.Theme{Version: 1}))
		try(t, calls.PutProviders(ctx, nil, []store.ProviderRecord{{Name: "p"}}))
		try(t, calls.Consume(ctx, [32]byte{}, time.Now()))
	}
	try(t, s.PutSigningKeys(ctx, 0, []store.SigningKey{{KID: "k"}}))

	for _, dsn := range []string{stsDSN, executorDSN} {
		c := connect(t, dsn)
		var unbound bool // by row-level security: nothing below would show anything
		try(t, c.QueryRow(ctx, "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user").Scan(&unbound))
		if unbound {
			t.Fatal("the role is a superuser or has BYPASSRLS")
		}
		found := tables(t, c)
		if dsn == executorDSN && len(found) < 6 {
			t.Errorf("found %d tables of the executor", len(found))
		}
		for table, hasOrg := range found {
			t.Run(table, func(t *testing.T) {
				if !hasOrg {
					if table == "head" { // one number, which says nothing of anybody
						return
					}
					if n, err := within(t, c, "obo.org", "mine", "SELECT FROM "+table); err != nil || n != 0 {
						t.Errorf("an org sees %d rows of the server's own, error %v", n, err)
					}
					return
				}
				oneOrgAlone(t, c, table)
				if dsn == executorDSN && table != "data_keys" {
					nothingDropped(t, c, table)
				}
			})
		}
		t.Run("audit is append-only", func(t *testing.T) { auditIsAppendOnly(t, c) })
		if dsn == stsDSN {
			t.Run("the wide setting is narrow", func(t *testing.T) { wideSettingIsNarrow(t, c) })
		}
	}
}

// oneOrgAlone proves of one table that an org's setting opens that org's rows and no others.
func oneOrgAlone(t *testing.T, c *pgx.Conn, table string) {
	t.Helper()
	for _, setting := range []struct{ name, value string }{
		{"", ""}, {"obo.org", ""}, {"obo.org", "nobody"}, {"obo.org", "MINE"},
	} {
		if n, err := within(t, c, setting.name, setting.value, "SELECT FROM "+table); err != nil || n != 0 {
			t.Errorf("%v sees %d rows, error %v; want none", setting, n, err)
		}
	}
	if n, err := within(t, c, "obo.org", "mine", "SELECT FROM "+table+" WHERE org = 'mine'"); err != nil || n == 0 {
		t.Errorf("an org sees %d of its own rows, error %v: the test would prove nothing", n, err)
	}
	if n, err := within(t, c, "obo.org", "mine", "SELECT FROM "+table+" WHERE org <> 'mine'"); err != nil || n != 0 {
		t.Errorf("an org sees %d rows of others, error %v", n, err)
	}
	if table == "audit" {
		return // nobody changes it: auditIsAppendOnly
	}
	for _, statement := range []string{
		"UPDATE %s SET org = org WHERE org = 'theirs'", "DELETE FROM %s WHERE org = 'theirs'",
	} {
		if n, err := within(t, c, "obo.org", "mine", fmt.Sprintf(statement, table)); err != nil || n != 0 {
			t.Errorf("%s: an org reached %d rows of another, error %v", statement, n, err)
		}
	}
	if _, err := within(t, c, "obo.org", "mine", "UPDATE "+table+" SET org = 'theirs'"); err == nil {
		t.Error("an org gave its rows to another")
	}
}

// nothingDropped proves of a table that nothing is stored in it that was sealed with a key that was dropped from the org's data key.
func nothingDropped(t *testing.T, c *pgx.Conn, table string) {
	t.Helper()
	var sealed bool
	try(t, c.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = $1::regclass AND attname = 'sealed')", table).
		Scan(&sealed))
	if !sealed {
		return
	}
	for value, want := range map[string]int64{"'\\x0000000000ff'": 0, "'\\x0100000000ff'": 1} { // the test has dropped five zeros
		if n, err := within(t, c, "obo.org", "mine", "UPDATE "+table+" SET sealed = "+value); err != nil || n != want {
			t.Errorf("%s: %d rows with %s, error %v; want %d. What is sealed with data keys needs a trigger (00007), a look by DropDataKey, "+
				"and to be sealed again by vault.Rotator", table, n, value, err, want)
		}
	}
}

// What the wide setting reaches is written down: a policy that grows must be seen here.
func wideSettingIsNarrow(t *testing.T, c *pgx.Conn) {
	for _, table := range []string{"client_secrets", "audit"} {
		if n, err := within(t, c, "obo.wide", "on", "SELECT FROM "+table); err != nil || n != 0 {
			t.Errorf("the wide setting sees %d rows of %s, error %v", n, table, err)
		}
	}
	for _, statement := range []string{
		"INSERT INTO configs VALUES ('acme', 1, '', now())",
		"INSERT INTO revocations VALUES (99, 'acme', 'org', 'acme', now(), now(), '')",
		"INSERT INTO consumed VALUES ('acme', sha256(''), now())",
	} {
		if _, err := within(t, c, "obo.wide", "on", statement); err == nil {
			t.Errorf("the wide setting did: %s", statement)
		}
	}
}

func auditIsAppendOnly(t *testing.T, c *pgx.Conn) {
	for _, statement := range []string{"UPDATE audit SET org = 'evil'", "DELETE FROM audit", "TRUNCATE audit"} {
		if _, err := within(t, c, "obo.org", "mine", statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: got error %v, want append-only", statement, err)
		}
	}
}

// Row-level security does not hold for a superuser or BYPASSRLS, and no promise of durability without synchronous_commit.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	ctx, dsn := t.Context(), pgtest.DSN(t)
	admin := pgtest.Admin(t, dsn)
	config, err := pgx.ParseConfig(dsn)
	try(t, err)
	open := func(dsn, says string) {
		t.Helper()
		s, err := postgres.OpenSTS(ctx, dsn)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got error %v, want one that says %q", err, says)
		}
		if err != nil && strings.Contains(err.Error(), config.Password) {
			t.Error("the error holds the password")
		}
	}
	c := connect(t, admin)
	role := pgx.Identifier{config.User}.Sanitize()
	for _, step := range []struct{ do, says, undo string }{
		{"ALTER ROLE " + role + " BYPASSRLS", "BYPASSRLS", "ALTER ROLE " + role + " NOBYPASSRLS"},
		{"ALTER ROLE " + role + " SUPERUSER", "superuser", "ALTER ROLE " + role + " NOSUPERUSER"},
		{"ALTER ROLE " + role + " SET synchronous_commit = off", "synchronous_commit", "ALTER ROLE " + role + " RESET ALL"},
		{"ALTER ROLE " + role + " NOLOGIN", "not permitted to log in", "ALTER ROLE " + role + " LOGIN"},
	} {
		_, err := c.Exec(ctx, step.do)
		try(t, err)
		open(dsn, step.says)
		_, err = c.Exec(ctx, step.undo)
		try(t, err)
	}
	openSTS(t, dsn)
}

// The locks of several replicas that start on an empty database must neither fail nor wait for a poll.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	errs := make(chan error)
	for range 4 {
		go func() {
			s, err := postgres.OpenSTS(t.Context(), dsn)
			if err == nil {
				err = s.Close()
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// A burst of timeouts must not close the pool's connections: an outage would follow each spike.
func TestTimeoutsKeepConnections(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := openSTS(t, withParameter(t, dsn, "pool_max_conns", "4"))
	c := connect(t, dsn)
	record := []store.AuditRecord{{Org: "acme", ActionID: "a"}}
	burst := func() (pids []int32) {
		t.Helper()
		tx, err := c.Begin(t.Context())
		try(t, err)
		_, err = tx.Exec(t.Context(), "LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
		try(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		failed := make(chan error)
		for range 4 {
			go func() { failed <- s.AppendAudit(ctx, record) }()
		}
		for range 4 {
			if err := <-failed; err == nil {
				t.Error("a write went through a lock")
			}
		}
		try(t, tx.Rollback(t.Context()))
		// A server process whose client has left sees it only after the lock is gone.
		for active := 1; active > 0; {
			try(t, c.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'obo' AND state <> 'idle'`).Scan(&active))
		}
		rows, err := c.Query(t.Context(), `SELECT pid FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'obo'`)
		try(t, err)
		pids, err = pgx.CollectRows(rows, pgx.RowTo[int32])
		try(t, err)
		return pids
	}
	before := burst()
	after := burst()
	if !slices.ContainsFunc(before, func(pid int32) bool { return slices.Contains(after, pid) }) {
		t.Errorf("connections before the second burst %v, after it %v: none was kept", before, after)
	}
	try(t, s.AppendAudit(t.Context(), record))
	found, err := s.Org("acme").AuditRecords(t.Context(), store.AuditQuery{Limit: 100})
	if err != nil || len(found) != 1 {
		t.Errorf("%d records, error %v; want the 1 whose write succeeded", len(found), err)
	}
}

// withParameter adds a parameter to a connection string of either form.
func withParameter(t *testing.T, dsn, name, value string) string {
	t.Helper()
	if !strings.Contains(dsn, "://") {
		return dsn + " " + name + "=" + value
	}
	u, err := url.Parse(dsn)
	try(t, err)
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// Notifications come from any replica, and go on after the listener's connection was broken.
func TestNotificationsFromOtherReplicas(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := openSTS(t, dsn), openSTS(t, dsn)
	hints, err := a.Notifications(t.Context())
	try(t, err)
	wait := func(why string) {
		t.Helper()
		select {
		case <-hints:
		case <-time.After(10 * time.Second):
			t.Fatal("no hint " + why)
		}
	}
	try(t, b.Org("acme").PutConfig(t.Context(), store.OrgConfig{Version: 1}))
	wait("of another replica's change")

	var ended int
	c := connect(t, dsn)
	try(t, c.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND query = 'LISTEN obo_changes'`).Scan(&ended))
	if ended != 1 {
		t.Fatalf("%d listeners ended, want 1", ended)
	}
	wait("after the listener came back")
	try(t, b.Org("acme").PutConfig(t.Context(), store.OrgConfig{Version: 2}))
	wait("of a change after that")
}
