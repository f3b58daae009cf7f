// Package pgtest gives a test a PostgreSQL database of its own, and finds or starts the server.
package pgtest

import "testing"

// Main runs a package's tests and then stops the cluster that DSN may have started. Call it from TestMain.
func Main(m *testing.M) { m.Run() }

// DSN creates a fresh database with an unprivileged role that owns it and returns its connection string.
func DSN(t testing.TB) string {
	t.Fatal("pgtest: not written yet")
	return ""
}
