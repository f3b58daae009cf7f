package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/grpcauth"
)

var quiet = slog.New(slog.DiscardHandler)

// TestReadiness: NOT_SERVING before the first state, when the check fails, and for good once a drain begins (GR8).
func TestReadiness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		first := make(chan struct{})
		h := NewHealth(first, func(context.Context) error {
			if broken.Load() {
				return errors.New("the store is away")
			}
			return nil
		}, quiet)
		h.start([]string{"obo.v1.ExchangeService"})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = h.watch(ctx) }()
		expect := func(when string, ready bool) {
			t.Helper()
			synctest.Wait()
			for _, name := range []string{"", "obo.v1.ExchangeService"} {
				got, err := h.server.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: name})
				if err != nil || (got.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING) != ready || (h.Ready() == nil) != ready {
					t.Errorf("%s: %q is %v, %v, Ready() %v", when, name, got, err, h.Ready())
				}
			}
		}
		expect("at the start", false)
		close(first)
		expect("with the first state", true)
		broken.Store(true)
		time.Sleep(time.Second)
		expect("without the store", false)
		broken.Store(false)
		time.Sleep(time.Second)
		expect("with the store again", true)
		h.drain()
		expect("in a drain", false)
		time.Sleep(time.Minute)
		expect("later in the drain", false)
	})
}

// TestNoPlaintextOffLoopback: by the address that was bound, whatever the configuration's text was (TX20).
func TestNoPlaintextOffLoopback(t *testing.T) {
	t.Parallel()
	for address, ok := range map[string]bool{"127.0.0.1:0": true, "localhost:0": true, "0.0.0.0:0": false, ":0": false} {
		l, err := open(t.Context(), address, nil)
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
		if l != nil {
			_ = l.Close()
		}
	}
	l, err := open(t.Context(), "0.0.0.0:0", &tls.Config{MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatalf("with TLS: %v", err)
	}
	_ = l.Close()
}

// TestPortInUse: the start fails.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := Listen(t.Context(), config.Listen{GRPC: "127.0.0.1:0", HTTP: taken.Addr().String()}); err == nil {
		t.Error("listened on a port in use")
	}
}

// newServer is a server with nothing behind its doors but the given work.
func newServer(t *testing.T, work func(context.Context) error) *Server {
	t.Helper()
	doors, err := Listen(t.Context(), config.Listen{GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(doors.Close)
	first := make(chan struct{})
	close(first)
	health := NewHealth(first, func(context.Context) error { return nil }, quiet)
	guard, err := NewGuard(grpcauth.Config{
		Bearer: map[string]telemetry.Secret{"obo.v1.AdminService": telemetry.Secret(strings.Repeat("s", 32))},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := NewGRPC(GRPC{Health: health, MaxMessage: 1 << 10, Log: quiet, Guard: guard})
	return &Server{
		Doors: doors, GRPC: g, HTTP: http.NotFoundHandler(), Health: health, Delay: func() time.Duration { return 0 }, Drain: time.Minute, Log: quiet,
		Work: map[string]func(context.Context) error{"the work": work},
	}
}

func idle(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// TestDrainEndsStreams: an open health watch does not hold a drain up, and learns that it is one (GR8).
func TestDrainEndsStreams(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	conn, err := grpc.NewClient(s.Doors.GRPC.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		got, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
			break
		}
	}
	stop()
	for err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestStopAtOnce: a signal that comes before the doors are served is no failure.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := newServer(t, idle).Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestFailedWorkEndsTheServer: and says what it was, also when it ended without an error.
func TestFailedWorkEndsTheServer(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, want := range []error{cause, nil} {
		err := newServer(t, func(context.Context) error { return want }).Run(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), "the work ended: ") || want != nil && !errors.Is(err, want) {
			t.Errorf("after %v: %v", want, err)
		}
	}
}

// TestInitOverwritesNothing: a lost key-encryption key is all that it sealed.
func TestInitOverwritesNothing(t *testing.T) {
	t.Parallel()
	f := Folder{Key: "kek.json", Tokens: []string{"a.token", "b.token"}, Config: "c.yaml", Sample: "dir: %[1]s\n"}
	dir, err := f.write(t.Context(), filepath.Join(t.TempDir(), "new"), "")
	if err != nil {
		t.Fatal(err)
	}
	read := func() (all [][]byte) {
		for _, name := range f.files() {
			text, err := os.ReadFile(filepath.Join(dir, name))
			info, statErr := os.Stat(filepath.Join(dir, name))
			if err := errors.Join(err, statErr); err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("%s: %v, %v", name, info, err)
			}
			all = append(all, text)
		}
		return all
	}
	before := read()
	if bytes.Equal(before[1], before[2]) || string(before[3]) != "dir: "+dir+"\n" {
		t.Errorf("wrote %q", before[1:])
	}
	if _, err := f.write(t.Context(), dir, ""); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a second init: %v", err)
	}
	if !bytes.Equal(bytes.Join(before, nil), bytes.Join(read(), nil)) {
		t.Error("a second init wrote")
	}
}
