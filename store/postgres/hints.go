package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const channel = "obo_changes"

// Notifications returns a channel that gets a value soon after any replica commits a change, until ctx or the store ends.
// Several changes may share one value. It listens on a connection of its own; when that breaks it connects again, and then
// sends a value because it cannot know what it missed. The caller polls as well. The channel is never closed.
func (s *STS) Notifications(ctx context.Context) (<-chan struct{}, error) {
	conn, err := s.connectListener(ctx)
	if err != nil {
		return nil, fmt.Errorf("postgres: listen: %w", err)
	}
	hints := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	s.wait.Go(func() {
		defer cancel()
		s.follow(ctx, conn, hints)
	})
	s.wait.Go(func() {
		defer cancel()
		select {
		case <-s.done:
		case <-ctx.Done():
		}
	})
	return hints, nil
}

func (s *STS) connectListener(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, s.listen)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}

// follow passes notifications on until ctx ends. While the server is away it tries again after 100 ms, then after twice as
// long each time, up to 5 s.
func (s *STS) follow(ctx context.Context, conn *pgx.Conn, hints chan<- struct{}) {
	const first, last = 100 * time.Millisecond, 5 * time.Second
	pause := first
	for {
		var err error
		if conn == nil {
			conn, err = s.connectListener(ctx)
		} else {
			_, err = conn.WaitForNotification(ctx)
		}
		if err == nil {
			pause = first
			select {
			case hints <- struct{}{}:
			default: // a hint that was not looked at yet stands for this one too
			}
			continue
		}
		if conn != nil {
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_ = conn.Close(closing)
			cancel()
			conn = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, last)
		}
	}
}
