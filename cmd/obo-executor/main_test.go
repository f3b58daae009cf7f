package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/cmd/internal/daemon"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/wire/feedgrpc"
)

const (
	audience = "https://executor.test"
	follower = "follower-credential-0123456789abcdef"
)

// sts is as much of a token server as an executor needs: a feed, and keys found by metadata.
type sts struct {
	issuer *delegationtest.Issuer
	url    string // of the metadata; also the issuer
	addr   string // of the feed
	db     *sqlite.STS
	hub    *revocation.Hub
	stop   context.CancelFunc
}

// bundles is one org's policy.
type bundles map[delegation.OrgID]policy.Bundle

func (b bundles) Orgs(context.Context) ([]delegation.OrgID, error) {
	var out []delegation.OrgID
	for id := range b {
		out = append(out, id)
	}
	return out, nil
}

func (b bundles) Bundle(_ context.Context, org delegation.OrgID) (string, []byte, error) {
	document, err := json.Marshal(b[org])
	return b[org].Version, document, err
}

func newSTS(t *testing.T, b bundles) *sts {
	t.Helper()
	s := &sts{issuer: delegationtest.NewIssuer(t)}
	keys := s.issuer.ServeKeys(t)
	mux := http.NewServeMux()
	metadata := httptest.NewServer(mux)
	t.Cleanup(metadata.Close)
	s.url = metadata.URL
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.url, s.url+"/jwks")
	})
	elsewhere, err := url.Parse(keys)
	must(t, err)
	mux.Handle("GET /jwks", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL = elsewhere }})
	s.db, err = sqlite.OpenSTS(t.Context(), filepath.Join(t.TempDir(), "sts.db"))
	must(t, err)
	t.Cleanup(func() { s.db.Close() })
	quiet := slog.New(slog.DiscardHandler)
	set := revocation.NewSet(0)
	s.hub, err = revocation.NewHub(revocation.HubConfig{Store: s.db, Set: set, Log: quiet, Poll: 20 * time.Millisecond})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { defer close(ran); s.hub.Run(ctx) }()
	roster, err := revocation.NewRoster(revocation.RosterConfig{Store: s.db, Hub: s.hub, Log: quiet})
	must(t, err)
	feed, err := feedgrpc.New(feedgrpc.Config{Hub: s.hub, Roster: roster, Policies: b, Log: quiet})
	must(t, err)
	g := grpc.NewServer()
	feed.Register(g)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go g.Serve(l)
	s.addr = l.Addr().String()
	s.stop = sync.OnceFunc(func() { g.Stop(); stop(); <-ran })
	t.Cleanup(s.stop)
	return s
}

// process is an executor that serves in this process.
type process struct {
	grpc, http string
	log        *buffer
	end        context.CancelFunc
	done       chan error
}

type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

func startProcess(t *testing.T, s *sts) (*process, string) { return startUnder(t, s, "", nil) }

// startUnder is startProcess with a key file that is encrypted as a file says, and that asked makes the server read again.
func startUnder(t *testing.T, s *sts, encryption string, asked <-chan os.Signal) (*process, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "executor")
	must(t, program().Init(t.Context(), dir, encryption))
	must(t, os.WriteFile(filepath.Join(dir, "feed.token"), []byte(follower), 0o600))
	p := &process{grpc: freeAddress(t), http: freeAddress(t), log: &buffer{}, done: make(chan error, 1)}
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	must(t, err)
	for old, now := range map[string]string{
		"http://127.0.0.1:8081 ": audience + " ", "http://127.0.0.1:8080": s.url, "127.0.0.1:8443": s.addr, "127.0.0.1:8444": p.grpc,
		"http: 127.0.0.1:8081": "http: " + p.http, "token_file: " + dir + "/feed.token": "stale_after: 1s\n  token_file: " + dir + "/feed.token",
	} {
		if !strings.Contains(string(text), old) {
			t.Fatalf("the sample configuration has no %q", old)
		}
		text = []byte(strings.Replace(string(text), old, now, 1))
	}
	file := filepath.Join(dir, configFile)
	must(t, os.WriteFile(file, text, 0o600))
	cfg, err := config.LoadExecutor(file)
	must(t, err)
	cfg.Log.Level = "debug"
	ctx, cancel := context.WithCancel(t.Context())
	p.end = cancel
	again := daemon.Reloads[config.Executor]{Load: func() (config.Executor, error) { return cfg, nil }, Asked: asked}
	go func() { p.done <- serve(ctx, cfg, again, p.log) }()
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Log(p.log.text())
		}
	})
	operator, err := cfg.Admin.Token()
	must(t, err)
	return p, operator.Reveal()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func bearer(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// eventually waits for a server that works beside the test.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s did not come about", what)
}

// TestServe: EX4, EX5, DP3, DP6, DP10. From `init` to a served token; not ready before the feed's snapshot; refusing when the feed is gone;
// and a drain that ends well.
func TestServe(t *testing.T) {
	t.Parallel()
	var providers []policy.Provider
	for _, p := range connection.Builtin() {
		providers = append(providers, p.PolicyProvider())
	}
	s := newSTS(t, bundles{
		"acme":   {Org: "acme", Version: "7", Providers: providers, Agents: []policy.Agent{{Name: "researcher"}}},
		"broken": {Org: "broken", Version: "1", Policies: []policy.File{{Name: "x.cedar", Text: "permit ("}}},
	})
	p, operator := startProcess(t, s)
	conn, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	health := func() grpc_health_v1.HealthCheckResponse_ServingStatus {
		r, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil {
			return grpc_health_v1.HealthCheckResponse_UNKNOWN
		}
		return r.GetStatus()
	}
	eventually(t, "readiness", func() bool { return health() == grpc_health_v1.HealthCheckResponse_SERVING })
	response, err := http.Get("http://" + p.http + "/healthz")
	must(t, err)
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK || string(body) != "ok\n" {
		t.Errorf("healthz: %s %s", response.Status, body)
	}

	scopes, err := delegation.NewScopes("github:repos:read")
	must(t, err)
	token := func(org delegation.OrgID) string {
		return s.issuer.Token(t, func(c *delegation.Claims) {
			delegationtest.As(org, "alice", "researcher")(c)
			c.Issuer, c.Audience, c.Scope = s.url, audience, scopes
			c.Actor.Issuer = s.url
		})
	}
	client := obov1.NewExecutorServiceClient(conn)
	list := func(token string) error {
		_, err := client.ListTools(bearer(t.Context(), token), &obov1.ListToolsRequest{})
		return err
	}
	good := token("acme")
	if err := list(good); err != nil {
		t.Errorf("a good token: %v", err)
	}
	checkBound(t, s, p, scopes)
	checkWeb(t, p)
	if err := list(token("broken")); status.Code(err) != codes.Unavailable {
		t.Errorf("an org whose policy does not compile: %v", err)
	}
	if !strings.Contains(p.log.text(), "policy does not compile") {
		t.Error("a policy that does not compile is not in the log")
	}
	if err := list(operator); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the operator's credential as a token: %v", err)
	}
	admin := obov1.NewExecutorAdminServiceClient(conn)
	if _, err := admin.ListConnections(bearer(t.Context(), good), &obov1.ListConnectionsRequest{OrgId: "acme"}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a token as the operator's credential: %v", err)
	}
	if _, err := admin.ListConnections(bearer(t.Context(), operator), &obov1.ListConnectionsRequest{OrgId: "acme"}); err != nil {
		t.Errorf("the operator: %v", err)
	}

	_, err = s.db.Org("acme").Revoke(t.Context(), revocation.New("acme", revocation.Agent, "agent:acme/researcher", "", time.Now(), time.Hour))
	must(t, err)
	eventually(t, "the refusal of a revoked agent", func() bool { return status.Code(list(good)) == codes.Unauthenticated })

	s.stop()
	eventually(t, "a refusal without the feed", func() bool { return status.Code(list(good)) == codes.Unavailable })
	eventually(t, "NOT_SERVING without the feed", func() bool { return health() == grpc_health_v1.HealthCheckResponse_NOT_SERVING })
	p.end()
	if err := <-p.done; err != nil {
		t.Errorf("the drain: %v", err)
	}
	for what, secret := range map[string]string{"the token": good, "the operator's credential": operator, "the follower's credential": follower} {
		if strings.Contains(p.log.text(), secret) {
			t.Errorf("%s is in the log", what)
		}
	}
}

// TestNotReadyWithoutTheFeed: an executor that never heard of the token server answers, and refuses.
func TestNotReadyWithoutTheFeed(t *testing.T) {
	t.Parallel()
	s := newSTS(t, bundles{})
	s.stop()
	p, _ := startProcess(t, s)
	var response *http.Response
	eventually(t, "an answer", func() (ok bool) {
		var err error
		response, err = http.Get("http://" + p.http + "/healthz")
		return err == nil
	})
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("healthz: %s", response.Status)
	}
	p.end()
	if err := <-p.done; err != nil {
		t.Error(err)
	}
}

// TestInitLacksOnlyTheFeed: the sample is valid but for the credential that obo-sts makes.
func TestInitLacksOnlyTheFeed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, program().Init(t.Context(), dir, ""))
	_, err := config.LoadExecutor(filepath.Join(dir, configFile))
	var invalid *config.InvalidError
	if !errors.As(err, &invalid) || len(invalid.Problems) != 1 || invalid.Problems[0].Path != "feed.token_file" {
		t.Errorf("a missing feed credential: %v", err)
	}
}

// TestDiscovery: MD1, JW13. The metadata must be the issuer's own and name keys there, no redirect is followed, their size is
// bounded, and they are asked for again when they could not be had.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		"https://sts.example":        "https://sts.example/.well-known/oauth-authorization-server",
		"https://sts.example/":       "https://sts.example/.well-known/oauth-authorization-server",
		"https://sts.example/t1":     "https://sts.example/.well-known/oauth-authorization-server/t1",
		"https://sts.example:8/t/2/": "https://sts.example:8/.well-known/oauth-authorization-server/t/2",
	} {
		if got, err := metadataURL(issuer); err != nil || got != want {
			t.Errorf("%s: %s %v", issuer, got, err)
		}
	}
	var answer, redirect string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if redirect != "" && r.URL.Path != "/elsewhere" {
			http.Redirect(w, r, redirect, http.StatusFound)
			return
		}
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	now := time.Now()
	source, err := keySource(config.Executor{Issuer: server.URL})
	must(t, err)
	d := source.(*discovered)
	d.now = func() time.Time { return now }
	good := `{"issuer":"` + server.URL + `","jwks_uri":"` + server.URL + `/jwks"}`
	answer, redirect = good, "/elsewhere"
	if _, err := d.Key(t.Context(), "k", "ES256"); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("a redirect: %v", err)
	}
	redirect, now = "", now.Add(2*metadataPause)
	for _, answer = range []string{
		"", "{", `{"issuer":"https://evil.example","jwks_uri":"` + server.URL + `/jwks"}`, `{"issuer":"` + server.URL + `"}`,
		`{"issuer":"` + server.URL + `","jwks_uri":"http://evil.example/jwks"}`,
		`{"issuer":"` + server.URL + `","jwks_uri":"https://evil.example/jwks"}`,
		`{"issuer":"` + server.URL + `","jwks_uri":"http://127.0.0.1:1/jwks"}`, `{"x":"` + strings.Repeat("a", maxMetadata) + `"}`,
	} {
		if _, err := d.Key(t.Context(), "k", "ES256"); err == nil {
			t.Errorf("%.60s: no error", answer)
		}
		now = now.Add(2 * metadataPause)
	}
	answer = good
	if _, err := d.remote(t.Context()); err != nil {
		t.Errorf("good metadata: %v", err)
	}
}
