package connection_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store/sqlite"
)

// TestConnectCanary: no secret of a connection is in a log, an error, an audit record or the database's files.
func TestConnectCanary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := sqlite.OpenExecutor(t.Context(), filepath.Join(dir, "executor.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := newWorld(t, worldStore[*sqlite.ExecutorOrg]{db})
	var said bytes.Buffer
	logs := slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug})
	for i, each := range attempts {
		c, org := newCloud(t), delegation.OrgID(fmt.Sprintf("acme-%d", i))
		o := w.office(t, c, logs)
		o.open(t, org, c)
		v := o.begin(t, org, connection.Wish{Subject: "alice", Provider: "notes", Scopes: []string{"notes:write"}})
		if strings.Contains(each.name, "at once") {
			continue
		}
		each.run(t, w, o, c, v)
		for _, r := range o.trail.records {
			fmt.Fprintf(&said, "%+v\n", r)
		}
		a, err := o.connector.Wait(t.Context(), org, "", v.id, 0)
		fmt.Fprintf(&said, "%+v %v\n", a, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(text, []byte("canary-")); i >= 0 {
			t.Errorf("%s has %q", filepath.Base(name), text[i:min(len(text), i+40)])
		}
	}
	if i := bytes.Index(said.Bytes(), []byte("canary-")); i >= 0 || said.Len() == 0 {
		t.Errorf("said: %q", said.Bytes()[max(0, i-200):i+40])
	}
}
