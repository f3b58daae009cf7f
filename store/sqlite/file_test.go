package sqlite_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/sqlite"
)

func openSTS(t *testing.T, path string) *sqlite.STS {
	t.Helper()
	s, err := sqlite.OpenSTS(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// raw is a connection beside the store's own, for what the store does not let anyone do.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// The files hold hashes, sealed keys and the trail: nobody else on the machine may read them.
func TestFilesAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openSTS(t, filepath.Join(dir, "sts.db"))
	if err := s.Org("acme").PutConfig(t.Context(), store.OrgConfig{Version: 1}); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		seen++
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %#o, want 0600", d.Name(), mode)
		}
		return nil
	})
	if err != nil || seen < 3 {
		t.Fatalf("saw %d files (the database, its -wal and -shm), error %v", seen, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wide := filepath.Join(dir, "wide.db")
	if err := os.WriteFile(wide, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(wide, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(wide, link); err != nil {
		t.Fatal(err)
	}
	junk := filepath.Join(dir, "junk.db")
	if err := os.WriteFile(junk, bytes.Repeat([]byte("not a database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, says string }{
		{wide, "chmod 600"},
		{link, "not a regular file"},
		{dir, "not a regular file"},
		{filepath.Join(dir, "absent", "a.db"), "no such file"},
		{junk, "not a database"},
	} {
		s, err := sqlite.OpenSTS(t.Context(), c.path)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("OpenSTS(%s): got error %v, want one that says %q", c.path, err, c.says)
		}
	}
}

func TestPathMayHoldAnything(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a ?b=c&%41#é.db")
	s := openSTS(t, path)
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// Several processes may start on one new file at once.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sts.db")
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			s, err := sqlite.OpenSTS(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.Org("acme").Consume(t.Context(), [32]byte{byte(i)}, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestAuditIsAppendOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sts.db")
	s := openSTS(t, path)
	if err := s.AppendAudit(t.Context(), []store.AuditRecord{{Org: "acme", ActionID: "a"}}); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"UPDATE audit SET org = 'evil'", "DELETE FROM audit"} {
		if _, err := raw(t, path).Exec(statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: got error %v, want append-only", statement, err)
		}
	}
}

// Deleting an org's data key destroys what it sealed, so the key's bytes must leave the disk.
func TestDeletedDataKeyLeavesTheDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := sqlite.OpenExecutor(t.Context(), filepath.Join(dir, "executor.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	canary := []byte("canary-3f9b0c52-sealed-data-key")
	onDisk := func() (found bool) {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			found = found || bytes.Contains(data, canary)
		}
		return found
	}
	org := e.Org("acme")
	if err := org.CreateDataKey(t.Context(), store.DataKey{Sealed: canary, Version: 1}); err != nil {
		t.Fatal(err)
	}
	if !onDisk() {
		t.Fatal("the key is not on disk before the deletion: the test would prove nothing")
	}
	if err := org.DeleteDataKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if onDisk() {
		t.Error("the deleted key's bytes are still on disk")
	}
}

// The queries of the trail must go by index however large it grows.
func TestAuditQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sts.db")
	s := openSTS(t, path)
	for i := range 3 {
		var records []store.AuditRecord
		for j := range 1000 {
			transaction := fmt.Sprint(i, "-", j)
			records = append(records, store.AuditRecord{
				Org: "acme", Transaction: transaction, ActionID: transaction + ".x", Body: []byte("{}"),
			})
		}
		if err := s.AppendAudit(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	var inIndex int
	err := raw(t, path).QueryRow(`SELECT count(*) FROM audit INDEXED BY audit_action
		WHERE substr(action_id, 1, length(transaction_id) + 1) <> transaction_id || '.'`).Scan(&inIndex)
	if err != nil || inIndex != 0 {
		t.Errorf("%d actions are indexed apart from their transaction, error %v; want 0", inIndex, err)
	}
	found, err := s.Org("acme").AuditRecords(t.Context(), store.AuditQuery{Action: "2-999.x", Limit: 10})
	if err != nil || len(found) != 1 {
		t.Errorf("found %d records, error %v; want 1", len(found), err)
	}
}
