package connection_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store/sqlite"
)

// TestThemes: WCAG 1.4.3. A theme can make no page unreadable, and is no way to put anything but a name and a color on one.
func TestThemes(t *testing.T) {
	t.Parallel()
	db, err := sqlite.OpenExecutor(t.Context(), filepath.Join(t.TempDir(), "executor.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	themes := connection.Themes{Org: func(id delegation.OrgID) connection.ThemeStore { return db.Org(id) }, Now: time.Now}
	for name, c := range map[string]struct {
		name, accent string
		good         bool
	}{
		"dark":            {"Acme, Inc.", "#102030", true},
		"ours again":      {"", "", true},
		"just readable":   {"", "#767676", true},
		"just not":        {"", "#777777", false},
		"white":           {"", "#ffffff", false},
		"yellow":          {"", "#ffff00", false},
		"no color":        {"", "red", false},
		"upper case":      {"", "#ABCDEF", false},
		"more than it":    {"", "#102030;}body{display:none", false},
		"a line too many": {"Acme\nInc", "", false},
		"too long":        {strings.Repeat("a", 61), "", false},
	} {
		_, after, err := themes.Propose(t.Context(), "acme", c.name, c.accent)
		if (err == nil) != c.good || err != nil && !errors.Is(err, connection.ErrInvalid) || c.good && after.Version != 1 {
			t.Errorf("%s: %+v, %v", name, after, err)
		}
	}
}
