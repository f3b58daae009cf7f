package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/onbehalf/obo/config"
)

// Reloads are the requests to read the configuration again.
type Reloads[C config.Server] struct {
	Load  func() (C, error)
	Asked <-chan os.Signal // SIGHUP
}

// Run puts each new configuration in force, whole or not at all, until ctx ends. Current is the one before, and apply changes
// nothing when it returns an error.
func (r Reloads[C]) Run(ctx context.Context, current C, apply func(C) error, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.Asked:
			next, err := r.Load()
			var change config.Change
			if err == nil {
				change = config.Compare(current, next)
				err = needRestart(change.Restart)
			}
			if err == nil {
				err = apply(next)
			}
			if err != nil {
				log.ErrorContext(ctx, "the configuration was not reloaded; all of the one before stays in force", "error", err,
					"need_restart", change.Restart)
				continue
			}
			current = next
			log.InfoContext(ctx, "configuration reloaded; credentials and the key file were read again", "changed", change.Reload)
		}
	}
}

func needRestart(keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	return fmt.Errorf("%d of the keys that changed take effect at a restart only: restart the server, or change them back", len(keys))
}
