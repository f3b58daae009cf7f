package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/onbehalf/obo/store"
)

// TestConnectionsForReadsNobodyElse: each call reads its connections, so other users' must not add to its cost.
func TestConnectionsForReadsNobodyElse(t *testing.T) {
	t.Parallel()
	e, err := OpenExecutor(t.Context(), filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rows, err := e.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+connectionsFor, "acme", "github", "alice", store.MaxPage)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, step)
	}
	if got := strings.Join(plan, "; "); rows.Err() != nil || !strings.Contains(got, "connections_subject (org=? AND provider=? AND subject=?)") {
		t.Errorf("the plan is %q (%v), want a search by org, provider and subject", got, rows.Err())
	}
}
