package signin

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
)

// Open lets the machine's browser open a URL. env finds an environment variable.
func Open(ctx context.Context, url string, env func(string) (string, bool)) error {
	var cmd *exec.Cmd
	ctx = context.WithoutCancel(ctx) // the browser goes on when we end
	switch runtime.GOOS {
	case "darwin":
		cmd = exec.CommandContext(ctx, "open", url)
	case "windows":
		cmd = exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", url)
	default:
		_, x := env("DISPLAY")
		_, wayland := env("WAYLAND_DISPLAY")
		if !x && !wayland {
			return errors.New("there is no display")
		}
		cmd = exec.CommandContext(ctx, "xdg-open", url)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
