// Package sqlite keeps the records of package store in one SQLite file: the embedded default, in pure Go.
//
// The file is in WAL mode with synchronous=FULL, so a commit is on disk before a method returns. All writes go through one
// connection and every transaction takes the write lock at once: writers wait in line instead of failing with SQLITE_BUSY
// half-way, and those that wait together share a commit. That one line, and the file's one write lock, is also why sequence
// numbers are given in commit order. Reads have connections of their own and never wait for the writer.
//
// Several processes on one machine may open one file. A file on a network file system is not safe: WAL needs shared memory.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations/sts/*.sql
var stsMigrations embed.FS

//go:embed migrations/executor/*.sql
var executorMigrations embed.FS

// database is one open file.
type database struct {
	*writer
	write *sql.DB // one connection, which the writer holds
	read  *sql.DB // cannot write: query_only
}

// open makes the file if there is none, readable by its owner alone, and brings its tables up to date.
func open(ctx context.Context, path string, migrations fs.FS) (*database, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if err := ownFile(path); err != nil {
		return nil, err
	}
	d := &database{}
	if d.write, err = sql.Open("sqlite", dsn(path, "immediate", "secure_delete(1)")); err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	d.write.SetMaxOpenConns(1)
	if d.read, err = sql.Open("sqlite", dsn(path, "deferred", "query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: open %s: %w", path, err), d.Close())
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	if err := d.migrate(ctx, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: migrate %s: %w", path, err), d.Close())
	}
	if d.writer, err = newWriter(ctx, d.write); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: open %s: %w", path, err), d.Close())
	}
	return d, nil
}

// ownFile creates the file with mode 0600 before SQLite can create it with a wider one; SQLite gives the files beside it
// (-wal, -shm) the same mode. A file that is there already must not be open to others: it holds sealed keys and hashes. It
// is looked at by name and never opened here: closing a second descriptor would drop the locks that this process holds.
func ownFile(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return ownFile(path) // another process was faster
		}
		if err != nil {
			return fmt.Errorf("sqlite: %w", err)
		}
		return f.Close()
	}
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("sqlite: %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("sqlite: %s has mode %#o and may be read by others: run chmod 600 on it", path, mode)
	}
	return nil
}

func dsn(path, lock, pragma string) string {
	q := url.Values{"_txlock": {lock}, "_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		// A log of 16 MB instead of 4: pages of the audit's indexes are written many times before they are copied back.
		"wal_autocheckpoint(4000)", "cache_size(-8000)", pragma,
	}}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

// migrate is forward only. Two processes may start on one new file at once: each migration is one transaction, so the
// slower one fails as a whole, and when it looks again it finds the work done.
func (d *database) migrate(ctx context.Context, migrations fs.FS) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, d.write, migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		_, err = p.Up(ctx)
		if err == nil || attempt == 3 || ctx.Err() != nil {
			return err
		}
	}
}

// Ping reports whether the database answers.
func (d *database) Ping(ctx context.Context) error {
	var one int
	return d.read.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

// Close finishes the writes that are under way and refuses later calls. Prepared statements end with their connections.
func (d *database) Close() error {
	var err error
	if d.writer != nil {
		err = d.close()
	}
	if d.read != nil {
		err = errors.Join(err, d.read.Close())
	}
	return errors.Join(err, d.write.Close())
}

// collect reads all rows of a query.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows, *T) error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// changed reports whether a statement changed a row.
func changed(r sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// instant reads a time column.
type instant struct{ t *time.Time }

func (i instant) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("sqlite: a time is stored as %T", v)
	}
	*i.t = time.UnixMicro(n).UTC()
	return nil
}

// jsonText reads a column that holds JSON.
type jsonText struct{ v any }

func (j jsonText) Scan(v any) error {
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("sqlite: JSON is stored as %T", v)
	}
	return json.Unmarshal([]byte(text), j.v)
}

// blob keeps an empty value apart from NULL, which no column takes.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
