package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

var errClosed = errors.New("sqlite: the store is closed")

// maxGroup is how many writes share a commit at most.
const maxGroup = 64

// writer makes all writes, on one connection. Those that arrive while a commit is under way share the next one, so that the
// cost of a busy store is a share of one fsync for each write. Nobody waits for company.
type writer struct {
	conn          *sql.Conn
	begin, commit *sql.Stmt
	jobs          chan *job
	stop          chan struct{}
	once          sync.Once
	stopped       chan struct{}
}

// job is one caller's write.
type job struct {
	ctx   context.Context
	f     func(ctx context.Context, conn *sql.Conn) error
	alone bool // outside a transaction
	err   error
	done  chan struct{}
}

func newWriter(ctx context.Context, db *sql.DB) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn, jobs: make(chan *job), stop: make(chan struct{}), stopped: make(chan struct{})}
	if w.begin, err = conn.PrepareContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if w.commit, err = conn.PrepareContext(ctx, "COMMIT"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go w.run()
	return w, nil
}

// update runs f in a transaction that holds the write lock from its first statement, and returns when that is on disk. If f
// fails, nothing of it remains. A context that ends while f waits for its turn ends the wait; from then on the transaction
// is short and is not interrupted.
func (w *writer) update(ctx context.Context, f func(ctx context.Context, conn *sql.Conn) error) error {
	return w.do(&job{ctx: ctx, f: f})
}

func (w *writer) do(j *job) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	j.done = make(chan struct{})
	select {
	case w.jobs <- j:
	case <-j.ctx.Done():
		return j.ctx.Err()
	case <-w.stop:
		return errClosed
	}
	<-j.done
	return j.err
}

func (w *writer) run() {
	defer close(w.stopped)
	group := make([]*job, 0, maxGroup)
	for {
		group = group[:0]
		select {
		case <-w.stop:
			return
		case j := <-w.jobs:
			group = append(group, j)
		}
		for more := true; more && len(group) < maxGroup; {
			select {
			case j := <-w.jobs:
				group = append(group, j)
			default:
				more = false
			}
		}
		w.write(group)
		for i, j := range group {
			close(j.done)
			group[i] = nil
		}
	}
}

// write gives every job of the group its result.
func (w *writer) write(group []*job) {
	ctx := context.Background()
	var together []*job
	for _, j := range group {
		switch {
		case j.ctx.Err() != nil:
			j.err = j.ctx.Err() // it ended while the writer collected the group
		case j.alone:
			j.err = j.f(ctx, w.conn)
		default:
			together = append(together, j)
		}
	}
	if len(together) == 0 {
		return
	}
	if err := w.transaction(ctx, together); err != nil {
		// Whoever has an error of their own keeps it: it changed nothing either way.
		for _, j := range together {
			if j.err == nil {
				j.err = err
			}
		}
	}
}

// transaction commits the jobs that succeed and undoes those that fail. Its own error means that nothing is certain of the
// jobs that succeeded.
func (w *writer) transaction(ctx context.Context, group []*job) error {
	if _, err := w.begin.ExecContext(ctx); err != nil {
		return err
	}
	succeeded := 0
	for _, j := range group {
		if err := w.one(ctx, j, len(group) > 1); err != nil {
			return errors.Join(err, w.rollback(ctx))
		}
		if j.err == nil {
			succeeded++
		}
	}
	if succeeded == 0 {
		return w.rollback(ctx)
	}
	if _, err := w.commit.ExecContext(ctx); err != nil {
		return errors.Join(err, w.rollback(ctx))
	}
	return nil
}

// one runs a job. With others in the same transaction it is fenced by a savepoint. The error is one that ends the whole
// transaction.
func (w *writer) one(ctx context.Context, j *job, fenced bool) error {
	if !fenced {
		j.err = j.f(ctx, w.conn)
		return nil
	}
	if _, err := w.conn.ExecContext(ctx, "SAVEPOINT job"); err != nil {
		return err
	}
	end := "RELEASE job"
	if j.err = j.f(ctx, w.conn); j.err != nil {
		end = "ROLLBACK TO job; RELEASE job"
	}
	_, err := w.conn.ExecContext(ctx, end)
	return err
}

// rollback ends the transaction if SQLite did not end it by itself, which it does when the disk is full.
func (w *writer) rollback(ctx context.Context) error {
	_, _ = w.conn.ExecContext(ctx, "ROLLBACK") // it fails when there is no transaction, which is what is wanted
	if _, err := w.conn.ExecContext(ctx, "BEGIN; ROLLBACK"); err != nil {
		return fmt.Errorf("the transaction could not be ended: %w", err)
	}
	return nil
}

// close finishes the group in work and refuses what comes later.
func (w *writer) close() error {
	var err error
	w.once.Do(func() {
		close(w.stop)
		<-w.stopped
		err = w.conn.Close()
	})
	return err
}
