package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/onbehalf/obo/jose"
)

// asMain makes the test binary behave as obo-sts: the same main, without a build of its own.
const asMain = "OBO_STS_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// command is obo-sts with arguments, in a process of its own.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	return cmd
}

// binary is a running obo-sts.
type binary struct {
	dir, grpc, http string
	cmd             *exec.Cmd

	mu   sync.Mutex
	log  bytes.Buffer
	done chan struct{} // the log has ended
}

// start runs init and serve in a fresh folder, on ephemeral ports, and waits until it is ready.
func start(t testing.TB) *binary { return startWith(t, "") }

// startWith is start with more lines under `listen:`.
func startWith(t testing.TB, listen string) *binary {
	t.Helper()
	b := &binary{dir: t.TempDir(), done: make(chan struct{})}
	if out, err := command(t, "init", "--dir", b.dir).CombinedOutput(); err != nil {
		t.Fatalf("init: %v: %s", err, out)
	}
	file := filepath.Join(b.dir, configFile)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("grpc: 127.0.0.1:8443", "grpc: 127.0.0.1:0", "http: 127.0.0.1:8080", "http: 127.0.0.1:0",
		"  # tls:", listen+"  # tls:").Replace(string(text))
	changed += "egress:\n  allow_loopback: true\nlog:\n  level: debug\n"
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	b.cmd = command(t, "serve", "-c", file)
	stderr, err := b.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.cmd.Process.Kill(); _ = b.cmd.Wait() })
	ready := make(chan struct{})
	go b.read(bufio.NewScanner(stderr), ready)
	select {
	case <-ready:
	case <-b.done:
		t.Fatalf("obo-sts ended: %s", b.text())
	case <-time.After(30 * time.Second):
		t.Fatalf("obo-sts is not ready: %s", b.text())
	}
	return b
}

// read keeps the log, and finds in it where the server listens and when it is ready.
func (b *binary) read(lines *bufio.Scanner, ready chan<- struct{}) {
	defer close(b.done)
	for lines.Scan() {
		var line struct {
			Msg, GRPC, HTTP string
			Ready           bool
		}
		_ = json.Unmarshal(lines.Bytes(), &line)
		b.mu.Lock()
		b.log.Write(append(lines.Bytes(), '\n'))
		b.mu.Unlock()
		switch {
		case line.Msg == "serving":
			b.grpc, b.http = line.GRPC, "http://"+line.HTTP
		case line.Msg == "readiness changed" && line.Ready:
			close(ready)
		}
	}
}

func (b *binary) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

// stop drains it by SIGTERM and returns the exit code.
func (b *binary) stop(t testing.TB) int {
	t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-b.done
	_ = b.cmd.Wait()
	return b.cmd.ProcessState.ExitCode()
}

func (b *binary) token(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func (b *binary) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(b.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// idp is an OpenID Connect provider on loopback.
type idp struct {
	url string
	key jose.Signer
}

func newIDP(t testing.TB) idp {
	t.Helper()
	private, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	p := idp{}
	if p.key, err = jose.NewSigner("idp", jose.ES256, private); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.url, "jwks_uri": p.url + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(jose.NewKeySet(p.key.Key()).JSON())
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p idp) token(t testing.TB, user string) string {
	t.Helper()
	return p.sign(t, map[string]any{"sub": user, "groups": []string{"engineering"}})
}

// sign makes a fresh ID token of claims.
func (p idp) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	claims["iss"], claims["aud"], claims["iat"], claims["exp"] = p.url, "app", now.Unix(), now.Add(time.Hour).Unix()
	payload, err := jose.Encode(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := p.key.Sign("JWT", payload)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
