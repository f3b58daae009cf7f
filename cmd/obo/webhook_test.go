package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// notifying is an executor's admin API that tells of events and remembers what was asked.
type notifying struct {
	obov1.UnimplementedExecutorAdminServiceServer
	mu    sync.Mutex
	asked []proto.Message
}

func (n *notifying) note(m proto.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, m)
}

func (n *notifying) WatchConnections(r *obov1.WatchConnectionsRequest, out grpc.ServerStreamingServer[obov1.WatchConnectionsResponse]) error {
	n.note(r)
	for i := range uint64(2) {
		err := out.Send(&obov1.WatchConnectionsResponse{Event: &obov1.ConnectionEvent{
			Sequence: 7 + i, Connection: "alice", OldStatus: "active", NewStatus: "revoked", Reason: "gone\x1b[2J", Time: timestamppb.Now(),
		}})
		if err != nil {
			return err
		}
	}
	return nil // the server drains
}

func (n *notifying) PutWebhook(_ context.Context, r *obov1.PutWebhookRequest) (*obov1.PutWebhookResponse, error) {
	n.note(r)
	return &obov1.PutWebhookResponse{Webhook: &obov1.Webhook{Url: r.GetUrl(), Version: 1, Status: "active"}, Secret: "whsec_made"}, nil
}

func (n *notifying) GetWebhook(context.Context, *obov1.GetWebhookRequest) (*obov1.GetWebhookResponse, error) {
	return &obov1.GetWebhookResponse{Webhook: &obov1.Webhook{Status: "failing", Failures: 80, Failure: "it answers with HTTP status 500"}}, nil
}

func (n *notifying) TestWebhook(context.Context, *obov1.TestWebhookRequest) (*obov1.TestWebhookResponse, error) {
	return &obov1.TestWebhookResponse{Failure: "it answers with HTTP status 403"}, nil
}

func newNotifying(t *testing.T) (*notifying, map[string]string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, s := &notifying{}, grpc.NewServer()
	obov1.RegisterExecutorAdminServiceServer(s, n)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	token := filepath.Join(t.TempDir(), "admin")
	if err := os.WriteFile(token, []byte("operator"), 0o600); err != nil {
		t.Fatal(err)
	}
	return n, map[string]string{"OBO_EXECUTOR_GRPC": l.Addr().String(), "OBO_ADMIN_TOKEN_FILE": token, "OBO_ORG": "acme"}
}

func TestConnectWatch(t *testing.T) {
	t.Parallel()
	n, env := newNotifying(t)
	for i, args := range []string{"connect watch", "connect watch --after 0 -o json", "connect watch --after 6"} {
		got := obo(t, env, "", strings.Fields(args)...)
		if lines := strings.Split(strings.TrimSpace(got.out), "\n"); len(lines) != 2 || strings.Contains(got.out, "\x1b") ||
			!strings.Contains(lines[1], "revoked") || (lines[0][0] == '{') != (i == 1) {
			t.Errorf("%s: exit %d\n%s%s", args, got.code, got.out, got.err)
		}
		after := n.asked[i].(*obov1.WatchConnectionsRequest).After
		if i == 0 && after != nil || i == 1 && (after == nil || *after != 0) || i == 2 && (after == nil || *after != 6) {
			t.Errorf("%s: asked for %v", args, n.asked[i])
		}
	}
}

func TestWebhookCommands(t *testing.T) {
	t.Parallel()
	n, env := newNotifying(t)
	got := obo(t, env, "", "webhook", "set", "acme", "https://hooks.example", "--expected-version", "0")
	if got.code != 0 || !strings.Contains(got.out, "whsec_made") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	got = obo(t, env, "whsec_given\n", "webhook", "set", "globex", "https://hooks.example", "--secret-file", "-", "--dry-run")
	put := n.asked[1].(*obov1.PutWebhookRequest)
	if got.code != 0 || put.GetSecret() != "whsec_given" || !put.GetDryRun() || put.GetOrgId() != "globex" || put.ExpectedVersion != nil ||
		strings.Contains(got.out, "whsec") {
		t.Errorf("exit %d, %v\n%s%s", got.code, put, got.out, got.err)
	}
	if got = obo(t, env, "", "webhook", "show", "acme"); got.code != 0 || !strings.Contains(got.out, "HTTP status 500") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	if got = obo(t, env, "", "webhook", "test", "acme"); got.code != explain.Failed || !strings.Contains(got.err, "HTTP status 403") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
}
