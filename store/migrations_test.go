package store_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// contracting is what the version before cannot live with: what it reads or writes is gone, renamed, or demands more of it.
var contracting = regexp.MustCompile(`(?is)(\b(DROP\s+(TABLE|COLUMN|VIEW|TYPE|SCHEMA)\b|RENAME\s+(TO|COLUMN)\b|` +
	`ALTER\s+COLUMN\s+\S+\s+(SET\s+DATA\s+)?TYPE\b|SET\s+NOT\s+NULL\b|ADD\s+CONSTRAINT\b[^;]*\b(CHECK|UNIQUE)\b)|;\s*TRUNCATE\b)`)

// addsColumn finds each column that a migration adds.
var addsColumn = regexp.MustCompile(`(?is)\bADD\s+(COLUMN\s+)?(IF\s+NOT\s+EXISTS\s+)?\w+\s+[^;]*?;`)

// comment is SQL's.
var comment = regexp.MustCompile(`--[^\n]*`)

// TestMigrationsExpand: the version before goes on serving while the new one migrates (docs/OPERATING.md, Upgrade). A migration
// that takes something away says so in its name, and the docs say which version it may follow.
func TestMigrationsExpand(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*/migrations/*/*.sql")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %d migrations: %v", len(files), err)
	}
	page, err := os.ReadFile("../docs/OPERATING.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found := contracts(string(text))
		switch base := filepath.Base(name); {
		case found == "":
		case !strings.Contains(base, "contract"):
			t.Errorf("%s: %q breaks the version that still serves: expand only, or name the file ..._contract_....sql", name, found)
		case !strings.Contains(string(page), base):
			t.Errorf("docs/OPERATING.md does not say which version %s may follow", base)
		}
	}
}

// contracts is the first piece of a migration that contracts the schema.
func contracts(text string) string {
	up, _, _ := strings.Cut(text, "-- +goose Down")
	up = comment.ReplaceAllString(up, "")
	if found := contracting.FindString(up); found != "" {
		return found
	}
	for _, column := range addsColumn.FindAllString(up, -1) {
		upper := strings.ToUpper(column)
		if strings.Contains(upper, "NOT NULL") && !strings.Contains(upper, "DEFAULT") && !strings.Contains(upper, "CONSTRAINT") {
			return column
		}
	}
	return ""
}

func TestContracts(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"CREATE TABLE a (b text NOT NULL);":                      false,
		"ALTER TABLE a ADD COLUMN b text;":                       false,
		"ALTER TABLE a ADD COLUMN b text NOT NULL DEFAULT '';":   false,
		"ALTER TABLE a ADD b int NOT NULL;":                      true,
		"ALTER TABLE a ADD COLUMN b int NOT NULL;":               true,
		"ALTER TABLE a DROP COLUMN b;":                           true,
		"DROP TABLE a;":                                          true,
		"DROP INDEX a;":                                          false,
		"-- DROP TABLE a;\nCREATE INDEX b ON a (c);":             false,
		"alter table a rename to b;":                             true,
		"ALTER TABLE a RENAME COLUMN b TO c;":                    true,
		"ALTER TABLE a ALTER COLUMN b TYPE bigint;":              true,
		"ALTER TABLE a ALTER COLUMN b SET NOT NULL;":             true,
		"ALTER TABLE a ADD CONSTRAINT x CHECK (b > 0);":          true,
		"ALTER TABLE a ENABLE ROW LEVEL SECURITY;":               false,
		"CREATE POLICY own ON a USING (org = 'x');":              false,
		"CREATE TABLE b (c int); TRUNCATE a;":                    true,
		"CREATE TABLE b (c int);\n-- +goose Down\nDROP TABLE b;": false,
		"ALTER TABLE a ALTER COLUMN b SET DEFAULT 'NOT A NULL'":  false,
	} {
		if got := contracts(sql); (got != "") != want {
			t.Errorf("%s: found %q", sql, got)
		}
	}
}
