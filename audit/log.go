package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
// AppendAudit MUST write all records in one transaction and return nil only when they are durable. It MUST return soon
// after ctx ends.
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

// Log writes records in groups. While one group is being committed the next one forms, so a busy server pays a share of an
// fsync for each record and an idle one waits for nobody: there is no timer.
type Log struct {
	store    Appender
	now      func() time.Time
	maxGroup int
	timeout  time.Duration

	mu     sync.RWMutex // held while sending on queue, so that Close never closes it under a sender
	closed bool
	queue  chan entry

	base context.Context // ends when Close gives up
	stop context.CancelFunc
	done chan struct{} // closed when the writer has ended
}

// entry is a record that waits.
type entry struct {
	record store.AuditRecord
	ctx    context.Context
	result chan error // has room for the one result, so the writer waits for nobody
}

// Open returns a Log that writes to c.Store. It must be closed.
func Open(c Config) (*Log, error) {
	if c.Store == nil {
		return nil, errors.New("audit: no store")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxGroup <= 0 {
		c.MaxGroup = 256
	}
	if c.MaxQueue <= 0 {
		c.MaxQueue = 4096
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	base, stop := context.WithCancel(context.Background())
	l := &Log{
		store: c.Store, now: c.Now, maxGroup: c.MaxGroup, timeout: c.Timeout,
		queue: make(chan entry, c.MaxQueue), base: base, stop: stop, done: make(chan struct{}),
	}
	go l.run()
	return l, nil
}

// Record writes one record and returns nil once it is durable.
//
// A caller whose ctx ends first gets an error although the record may become durable a moment later. That is safe: with an
// error the caller neither signs nor calls, and what the record states, that a decision was made, is true all the same.
func (l *Log) Record(ctx context.Context, r Record) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if r.Time.IsZero() {
		r.Time = l.now()
	}
	record, err := r.encode()
	if err != nil {
		return err
	}
	e := entry{record: record, ctx: ctx, result: make(chan error, 1)}
	if err := l.enqueue(e); err != nil {
		return err
	}
	select {
	case err := <-e.result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("audit: %w", ctx.Err())
	}
}

// enqueue never waits: behind a full queue stands a store that cannot keep up, and a caller is better told at once.
func (l *Log) enqueue(e entry) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return ErrClosed
	}
	select {
	case l.queue <- e:
		return nil
	default:
		return ErrFull
	}
}

// Close refuses new records, writes those that wait, and returns when they are durable. If ctx ends first it gives up:
// the callers that still wait get an error.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	defer l.stop()
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("audit: close: %w", ctx.Err())
	}
}

// run is the writer. There is one, so groups are committed in the order in which they formed.
func (l *Log) run() {
	defer close(l.done)
	group := make([]entry, 0, l.maxGroup)
	for first := range l.queue {
		group = l.fill(append(group[:0], first))
		l.commit(group)
		clear(group) // let go of contexts and bodies while idle
	}
}

// fill adds what waits already, and waits for nothing.
func (l *Log) fill(group []entry) []entry {
	for len(group) < l.maxGroup {
		select {
		case e, ok := <-l.queue:
			if !ok {
				return group
			}
			group = append(group, e)
		default:
			return group
		}
	}
	return group
}

// commit writes a group and tells each of its callers. An error may mean that the group is durable all the same, so it is
// not tried again: twice the same decision would stand in the trail.
func (l *Log) commit(group []entry) {
	records := make([]store.AuditRecord, 0, len(group))
	waiting := group[:0]
	for _, e := range group {
		if err := e.ctx.Err(); err != nil {
			e.result <- fmt.Errorf("audit: %w", err) // its caller has left
			continue
		}
		records = append(records, e.record)
		waiting = append(waiting, e)
	}
	if len(waiting) == 0 {
		return
	}
	// The group's own context: one caller's deadline is no reason to fail the others.
	ctx, cancel := context.WithTimeout(l.base, l.timeout)
	err := l.store.AppendAudit(ctx, records)
	cancel()
	if err != nil {
		err = fmt.Errorf("audit: %w", err)
	}
	for _, e := range waiting {
		e.result <- err
	}
}
