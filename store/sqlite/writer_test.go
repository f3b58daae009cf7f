package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/onbehalf/obo/store"
)

// Writes that share a commit must not share a failure: the one that fails is undone, the others stay.
func TestGroupKeepsFailuresApart(t *testing.T) {
	t.Parallel()
	e, err := OpenExecutor(t.Context(), filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	broken := errors.New("broken")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	type write struct {
		ctx  context.Context
		org  string
		want error
	}
	for _, group := range [][]write{
		{{t.Context(), "a", nil}, {t.Context(), "b", broken}, {t.Context(), "c", nil}, {ended, "d", context.Canceled}},
		{{t.Context(), "e", broken}},
		{{t.Context(), "f", broken}, {t.Context(), "g", store.ErrConflict}},
		{{t.Context(), "h", nil}},
	} {
		var jobs []*job
		for _, w := range group {
			jobs = append(jobs, &job{ctx: w.ctx, f: func(ctx context.Context, conn *sql.Conn) error {
				_, err := conn.ExecContext(ctx, "INSERT INTO data_keys VALUES (?, x'', 1)", w.org)
				return errors.Join(err, w.want)
			}})
		}
		e.writer.write(jobs)
		for i, w := range group {
			if !errors.Is(jobs[i].err, w.want) {
				t.Errorf("%s: error %v, want %v", w.org, jobs[i].err, w.want)
			}
		}
	}
	orgs, err := e.Orgs(t.Context())
	if err != nil || len(orgs) != 3 || orgs[0] != "a" || orgs[1] != "c" || orgs[2] != "h" {
		t.Errorf("orgs %v, error %v; want a, c and h", orgs, err)
	}
}
