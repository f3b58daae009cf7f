package audit

import (
	"context"
	"errors"
	"time"

	"github.com/onbehalf/obo/store"
)

// The errors of Record. Whatever the error, the caller must not do what the record speaks of.
var (
	// ErrFull: too many records wait to be written. Nothing was written.
	ErrFull = errors.New("audit: queue is full")
	// ErrClosed: the log is closed. Nothing was written.
	ErrClosed = errors.New("audit: log is closed")
	// ErrInvalid: the record is not one that the trail can hold. Nothing was written.
	ErrInvalid = errors.New("audit: invalid record")
)

// Appender writes records.
//
// AppendAudit MUST write all records in one transaction and return nil only when they are durable. It MUST be safe for
// concurrent use with readers.
type Appender interface {
	AppendAudit(ctx context.Context, records []store.AuditRecord) error
}

// Config makes a Log.
type Config struct {
	Store    Appender         // required
	Now      func() time.Time // default time.Now
	MaxGroup int              // records in one transaction; default 256
	MaxQueue int              // records that may wait; default 4096
	Timeout  time.Duration    // of one transaction; default 10 seconds
}

// Log writes records in groups.
type Log struct{}

// Open returns a Log that writes to c.Store.
func Open(c Config) (*Log, error) { return nil, errUnfinished }

// Record writes one record and returns nil once it is durable.
func (l *Log) Record(ctx context.Context, r Record) error { return errUnfinished }

// Close refuses new records, writes those that wait, and returns when they are durable or ctx ends.
func (l *Log) Close(ctx context.Context) error { return errUnfinished }
