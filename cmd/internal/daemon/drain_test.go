package daemon

import (
	"context"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// TestDrainDelay: GR8. A server that is told to end says so first and answers on, also new callers, and asks HTTP clients to come by
// another connection; only then it closes.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	closing := make(chan struct{})
	s.Delay = func() time.Duration { <-closing; return 0 } // the delay lasts as long as the test looks
	s.HTTP = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	get := func() (closes bool) {
		t.Helper()
		resp, err := (&http.Client{Transport: transport}).Get("http://" + s.Doors.HTTP.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusNoContent {
			t.Errorf("answered %s", resp.Status)
		}
		return resp.Close
	}
	conn, err := grpc.NewClient(s.Doors.GRPC.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	must(t, err)
	await := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for {
			got, err := watch.Recv()
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if got.GetStatus() == want {
				return
			}
		}
	}
	await(grpc_health_v1.HealthCheckResponse_SERVING)
	if get() {
		t.Error("a server that serves closes connections")
	}
	stop()
	await(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	for range 2 {
		if !get() {
			t.Error("a server that drains keeps HTTP connections")
		}
	}
	late, err := grpc.NewClient(s.Doors.GRPC.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer late.Close()
	if _, err := grpc_health_v1.NewHealthClient(late).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("a new caller in the delay: %v", err)
	}
	close(closing)
	must(t, <-ran)
	if _, err := watch.Recv(); err == nil {
		t.Error("the watch goes on after the drain")
	}
}

// TestFailureDoesNotWait: a server whose work has failed is not to answer on.
func TestFailureDoesNotWait(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(context.Context) error { return nil })
	s.Delay = func() time.Duration { t.Error("asked for the delay"); return 0 }
	if err := s.Run(t.Context()); err == nil {
		t.Error("no error")
	}
}
