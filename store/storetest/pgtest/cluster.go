package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cluster is a private, throw-away PostgreSQL server. It listens on a Unix socket alone, in a folder that only its user may
// enter, so that nobody else on the machine can reach it though it asks for no password.
type Cluster struct {
	bin   string // folder of PostgreSQL's programs
	dir   string
	stdin io.Closer
	cmd   *exec.Cmd
	ended chan struct{}
}

// admin is the superuser of a private cluster.
const admin = "obo_test_admin"

// watchdog runs the server until its own input ends, which happens when the process that started it ends, however it ends.
// Then it stops the server without ceremony (QUIT: the data is thrown away) and removes the folder.
const watchdog = `trap '' INT TERM HUP
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c max_connections=400 >"$2/log" 2>&1 </dev/null &
while read -r line; do :; done
kill -QUIT $! 2>/dev/null
wait $!
cd / && rm -rf "$2"`

// Start makes a cluster from installed server binaries, or installs them by apt-get if this process runs as root on a
// system that has it. ctx bounds the start alone. Settings are PostgreSQL's own, so commits are on disk. As root, it runs
// the server as the user postgres, or nobody: PostgreSQL refuses root. Progress that takes long is told on out.
func Start(ctx context.Context, out io.Writer) (*Cluster, error) {
	bin, err := binaries()
	if errors.Is(err, errNoServer) {
		if err := install(ctx, out); err != nil {
			return nil, err
		}
		bin, err = binaries()
	}
	if err != nil {
		return nil, err
	}
	return begin(ctx, bin, "initdb", "-U", admin, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
}

// Standby starts a server that follows this one as a streaming replica. From then on a commit waits for it.
func (c *Cluster) Standby(ctx context.Context) (*Cluster, error) {
	standby, err := begin(ctx, c.bin, "pg_basebackup", "-h", c.dir, "-U", admin, "-R", "--checkpoint=fast", "--no-sync")
	if err != nil {
		return nil, err
	}
	err = do(c.DSN(), func(ctx context.Context, conn *pgx.Conn) error {
		for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	return standby, nil
}

// begin makes the data folder with one of PostgreSQL's programs, whose flag -D names it, and starts a server on it.
func begin(ctx context.Context, bin, program string, args ...string) (*Cluster, error) {
	credential, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := folder(credential)
	if err != nil {
		return nil, err
	}
	c := &Cluster{bin: bin, dir: dir, ended: make(chan struct{})}
	if err := c.run(ctx, credential, program, args...); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.ready(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Bin is the folder of PostgreSQL's programs, psql among them.
func (c *Cluster) Bin() string { return c.bin }

// Socket is the folder of the server's Unix socket: the host of a connection string.
func (c *Cluster) Socket() string { return c.dir }

// DSN is the connection string of the cluster's superuser, a URL.
func (c *Cluster) DSN() string {
	u := url.URL{
		Scheme: "postgres", User: url.User(admin), Path: "/postgres", RawQuery: url.Values{"host": {c.dir}}.Encode(),
	}
	return u.String()
}

// Pause stops every process of the server where it stands, as a machine that hangs does: connections stay open, and nothing
// answers. Resume lets them go on; it must come before Stop.
func (c *Cluster) Pause() error { return c.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (c *Cluster) Resume() error { return c.signal(syscall.SIGCONT) }

// Crash ends the server without ceremony, for good: no session is ended in order, and nothing more is sent to a standby.
func (c *Cluster) Crash() error {
	postmaster, err := c.postmaster()
	if err != nil {
		return err
	}
	return syscall.Kill(postmaster, syscall.SIGQUIT)
}

func (c *Cluster) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

// signal goes to the postmaster first, so that it forks no more, and then to its children, which lead sessions of their own.
func (c *Cluster) signal(s syscall.Signal) error {
	postmaster, err := c.postmaster()
	if err != nil {
		return err
	}
	if err := syscall.Kill(postmaster, s); err != nil {
		return err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", postmaster, postmaster))
	if err != nil {
		return err
	}
	for pid := range strings.FieldsSeq(string(children)) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		if err := syscall.Kill(n, s); err != nil && !errors.Is(err, syscall.ESRCH) { // it may just have ended
			return err
		}
	}
	return nil
}

// Stop ends the server and removes its data.
func (c *Cluster) Stop() error {
	err := c.stdin.Close()
	<-c.ended
	return err
}

func (c *Cluster) run(ctx context.Context, credential *syscall.Credential, program string, args ...string) error {
	attributes := &syscall.SysProcAttr{Credential: credential, Setsid: true} // Ctrl-C is for the tests, not for the server
	environment := []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	data := exec.CommandContext(ctx, filepath.Join(c.bin, program), append(args, "-D", filepath.Join(c.dir, "data"))...)
	data.Dir, data.Env, data.SysProcAttr = c.dir, environment, attributes
	if out, err := data.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	c.cmd = exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", watchdog, "obo-postgres", c.bin, c.dir)
	c.cmd.Dir, c.cmd.Env, c.cmd.SysProcAttr = c.dir, environment, attributes
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return err
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait() // the server is always ended by a signal
	}()
	return nil
}

// ready waits until the server answers.
func (c *Cluster) ready(ctx context.Context) error {
	deadline := time.Now().Add(time.Minute)
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		conn, err := pgx.Connect(attempt, c.DSN())
		if err == nil {
			err = conn.Close(attempt)
		}
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			return fmt.Errorf("the private PostgreSQL server does not answer: %w: %s", err, bytes.TrimSpace(log))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var errNoServer = errors.New("no PostgreSQL server binaries")

// binaries finds the folder that holds initdb and postgres, the newest version first.
func binaries() (string, error) {
	var candidates []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		slices.Sort(found)
		slices.Reverse(found)
		candidates = append(candidates, found...)
	}
	if name, err := exec.LookPath("postgres"); err == nil {
		if name, err = filepath.EvalSymlinks(name); err == nil {
			candidates = append([]string{filepath.Dir(name)}, candidates...)
		}
	}
	for _, dir := range candidates {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", errNoServer
}

func executable(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func install(ctx context.Context, out io.Writer) error {
	advice := fmt.Errorf("%w found: set %s to the connection string of a superuser, or install PostgreSQL 14 or newer",
		errNoServer, Variable)
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return advice
	}
	fmt.Fprintln(out, "pgtest: no PostgreSQL server found; installing one by apt-get")
	for _, args := range [][]string{
		{"update", "-q"},
		{"install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "postgresql"},
	} {
		cmd := exec.CommandContext(ctx, apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if text, err := cmd.CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			return fmt.Errorf("%w (apt-get %s: %w: %s)", advice, args[0], err, lines[len(lines)-1])
		}
	}
	return nil
}

// unprivileged says as whom to run the server: nil for the user who runs this process, who is not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
}

// folder makes the cluster's folder, which only its user may enter.
func folder(credential *syscall.Credential) (string, error) {
	parent := os.TempDir()
	if credential != nil && !open(parent) {
		parent = "/tmp" // root's own temporary folder may be closed to the server's user
	}
	dir, err := os.MkdirTemp(parent, "obo-pg-")
	if err != nil || credential == nil {
		return dir, err
	}
	if err := os.Chown(dir, int(credential.Uid), int(credential.Gid)); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// open reports whether every user may pass through a folder and all above it.
func open(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
