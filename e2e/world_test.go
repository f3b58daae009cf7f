package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
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
	"google.golang.org/grpc/metadata"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/seal"
)

const audience = "https://executor.example"

const (
	typeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// world is one deployment: an identity provider and an issue tracker in this process, the two servers as processes.
type world struct {
	dir      string
	idp      *idp
	tracker  *tracker
	sts      *process
	executor *process
	issuer   string
	stsAddr  string
	execAddr string
	feedAddr string   // where the executor finds the feed; a proxy in some tests
	second   *process // another obo-sts on the same store, if there is one
	address2 string   // its gRPC listener
	replica  string   // its http URL
	admin    string
	secrets  map[string]string // client_id -> client_secret
	keys     map[string]jose.Signer
}

type options struct {
	stsStore, execStore string              // URLs; default SQLite in the world's folder
	feedThrough         func(string) string // puts something between the executor and the feed
	noExecutor          bool
	replica             bool   // a second obo-sts on the same store, under the same issuer
	sts, exec           string // more YAML for the servers' configurations
	stsBinary           string // path of another obo-sts than the one that was built for these tests
}

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), idp: newIDP(t), tracker: newTracker(t), secrets: map[string]string{}, keys: map[string]jose.Signer{}}
	if o.stsStore == "" {
		o.stsStore = "sqlite:" + filepath.Join(w.dir, "sts.db")
	}
	if o.execStore == "" {
		o.execStore = "sqlite:" + filepath.Join(w.dir, "executor.db")
	}
	w.admin = random(t)
	w.write(t, "admin", w.admin)
	w.write(t, "feed", random(t))
	for _, name := range []string{"sts.key", "executor.key"} {
		if err := (seal.KeyFile{Path: filepath.Join(w.dir, name)}).Create(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.stsAddr, w.execAddr = freeAddr(t), freeAddr(t)
	stsHTTP := freeAddr(t)
	w.issuer = "http://" + stsHTTP
	w.sts = w.startSTS(t, o, "sts", w.stsAddr, stsHTTP)
	if o.replica {
		http := freeAddr(t)
		w.address2, w.replica = freeAddr(t), "http://"+http
		w.second = w.startSTS(t, o, "sts2", w.address2, http)
	}
	w.feedAddr = w.stsAddr
	if o.feedThrough != nil {
		w.feedAddr = o.feedThrough(w.stsAddr)
	}
	if !o.noExecutor {
		w.executor = w.startExecutor(t, o, "executor", w.execAddr)
	}
	return w
}

func (w *world) startSTS(t *testing.T, o options, name, grpc, http string) *process {
	t.Helper()
	w.write(t, name+".yaml", fmt.Sprintf(`
issuer: %s
listen: {grpc: %q, http: %q}
store: {url: %q}
key_file: %s/sts.key
admin: {token_file: %s/admin}
feed: {token_file: %s/feed}
egress: {allow_loopback: true}
log: {level: debug, format: json}
%s`, w.issuer, grpc, http, o.stsStore, w.dir, w.dir, w.dir, o.sts))
	binary := "obo-sts"
	if o.stsBinary != "" {
		binary = o.stsBinary
	}
	p := start(t, binary, filepath.Join(w.dir, name+".yaml"), filepath.Join(w.dir, name+".log"))
	p.await(t, grpc)
	return p
}

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *world) startExecutor(t *testing.T, o options, name, grpc string) *process {
	t.Helper()
	w.write(t, name+".yaml", fmt.Sprintf(`
audience: %s
issuer: %s
feed: {address: %q, token_file: %s/feed, stale_after: 2s}
listen: {grpc: %q, http: %q}
store: {url: %q}
key_file: %s/executor.key
admin: {token_file: %s/admin}
egress: {allow_loopback: true}
log: {level: debug, format: json}
%s`, audience, w.issuer, w.feedAddr, w.dir, grpc, freeAddr(t), o.execStore, w.dir, w.dir, o.exec))
	p := start(t, "obo-executor", filepath.Join(w.dir, name+".yaml"), filepath.Join(w.dir, name+".log"))
	p.await(t, grpc)
	return p
}

// process is a server that can be killed and started again.
type process struct {
	binary, config, log string
	mu                  sync.Mutex
	cmd                 *exec.Cmd
}

func start(t *testing.T, binary, config, log string) *process {
	t.Helper()
	if !filepath.IsAbs(binary) {
		binary = filepath.Join(binaries, binary)
	}
	p := &process{binary: binary, config: config, log: log}
	p.start(t)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			if text, err := os.ReadFile(log); err == nil {
				t.Logf("%s said, at the end:\n%s", binary, text[max(0, len(text)-4000):])
			}
		}
	})
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(p.binary, "serve", "-c", p.config)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
}

// kill is SIGKILL: no defer runs, nothing is flushed.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

// pid is the process's id, 0 when it does not run.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *process) await(t *testing.T, addr string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if serving(addr) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s does not serve at %s after 20 s", filepath.Base(p.binary), addr)
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func bearer(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func basic(ctx context.Context, id, secret string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
}

// apply makes an org with an orchestrator and a researcher whose alice has an account at the tracker.
func (w *world) apply(t *testing.T, org string, changes ...func(doc map[string]any)) {
	t.Helper()
	admin := obov1.NewAdminServiceClient(dial(t, w.stsAddr))
	var agents []map[string]any
	for _, name := range []string{"orchestrator", "researcher"} {
		key := w.newKey(t, name)
		w.keys[org+"."+name] = key
		agents = append(agents, map[string]any{
			"name": name, "owner": "platform@" + org + ".example", "groups": []string{"staff"},
			"scopes": []string{"tracker:issues:read", "tracker:issues:write", "tracker:admin"},
			"jwks":   json.RawMessage(jose.NewKeySet(key.Key()).JSON()),
		})
	}
	doc := map[string]any{
		"org":       org,
		"issuers":   []any{map[string]any{"name": "idp", "url": w.idp.url, "audiences": []string{"obo"}, "org_claim": "org", "org_value": org, "groups_claim": "groups"}},
		"agents":    agents,
		"resources": []any{map[string]any{"uri": audience, "name": "executor"}},
		"providers": []any{trackerPolicy},
		"policies":  []any{map[string]any{"name": "org.cedar", "text": strings.ReplaceAll(policies, "ORG", org)}},
	}
	for _, change := range changes {
		change(doc)
	}
	document, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	ctx := bearer(t.Context(), w.admin)
	if _, err := admin.ApplyOrg(ctx, &obov1.ApplyOrgRequest{OrgId: org, Document: document}); err != nil {
		t.Fatalf("apply %s: %v", org, err)
	}
	for _, name := range []string{"orchestrator", "researcher"} {
		r, err := admin.RotateClientSecret(ctx, &obov1.RotateClientSecretRequest{OrgId: org, Agent: name})
		if err != nil {
			t.Fatal(err)
		}
		w.secrets[r.GetClientId()] = r.GetClientSecret()
	}
	if w.executor == nil {
		return
	}
	executor := obov1.NewExecutorAdminServiceClient(dial(t, w.execAddr))
	if _, err := executor.ApplyProviders(ctx, &obov1.ApplyProvidersRequest{OrgId: org, Providers: []*obov1.ProviderFile{
		{Name: "tracker.yaml", Text: w.tracker.record()},
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := executor.PutConnection(ctx, &obov1.PutConnectionRequest{
		OrgId: org, Connection: "alice-tracker", Provider: "tracker", Pattern: "api_key", Subject: user(org), Secret: w.tracker.key(org),
	}); err != nil {
		t.Fatal(err)
	}
}

func user(org string) string { return "user:" + org + "/idp|alice" }

func (w *world) newKey(t *testing.T, kid string) jose.Signer {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(kid, jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// first is the first hop: the orchestrator of org exchanges alice's ID token.
func (w *world) first(ctx context.Context, c obov1.ExchangeServiceClient, org, subject, scope string) (*obov1.ExchangeResponse, error) {
	id := org + ".orchestrator"
	return c.Exchange(basic(ctx, id, w.secrets[id]), &obov1.ExchangeRequest{
		SubjectToken: subject, SubjectTokenType: typeIDToken, Resource: []string{audience}, Scope: scope,
	})
}

// delegate is the second hop: the orchestrator names the researcher as the next actor, by the researcher's own assertion.
func (w *world) delegate(ctx context.Context, t *testing.T, c obov1.ExchangeServiceClient, org, parent, scope string) (*obov1.ExchangeResponse, error) {
	t.Helper()
	id, next := org+".orchestrator", org+".researcher"
	return c.Exchange(basic(ctx, id, w.secrets[id]), &obov1.ExchangeRequest{
		SubjectToken: parent, SubjectTokenType: typeAccessToken, ActorToken: w.assertion(t, next), ActorTokenType: typeJWT,
		Resource: []string{audience}, Scope: scope,
	})
}

// assertion is an agent's own statement that it acts (RFC 7523 shape).
func (w *world) assertion(t *testing.T, client string) string {
	t.Helper()
	return w.assertionBound(t, client, "")
}

// assertionBound also names the key that the agent will prove, by its thumbprint.
func (w *world) assertionBound(t *testing.T, client, jkt string) string {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"iss": client, "sub": client, "aud": w.issuer, "iat": now, "exp": now + 60, "jti": random(t)}
	if jkt != "" {
		claims["cnf"] = map[string]any{"jkt": jkt}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.keys[client].Sign("JWT", payload)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// idp is an OpenID provider: discovery, a key set, ID tokens.
type idp struct {
	url    string
	signer jose.Signer
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner("idp-1", jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	i := &idp{signer: signer}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":%q}`, i.url, i.url+"/jwks")
	})
	mux.HandleFunc("GET /jwks", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write(jose.NewKeySet(signer.Key()).JSON())
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	i.url = s.URL
	return i
}

func (i *idp) idToken(t *testing.T, org string) string { return i.idTokenOf(t, org, "obo", "alice") }

func (i *idp) idTokenOf(t *testing.T, org, audience, sub string) string {
	t.Helper()
	now := time.Now().Unix()
	payload, err := json.Marshal(map[string]any{
		"iss": i.url, "aud": audience, "sub": sub, "org": org, "groups": []string{"engineering"}, "iat": now, "exp": now + 600,
		"nonce": random(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := i.signer.Sign("JWT", payload)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tracker is the provider: it knows one key per org and echoes the key it was sent, as careless providers do.
type tracker struct {
	url   string
	nonce string
	mu    sync.Mutex
	calls int
	seen  []string // every header value and body that reached it
}

func newTracker(t *testing.T) *tracker {
	t.Helper()
	k := &tracker{nonce: random(t)}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(http.MaxBytesReader(rw, r.Body, 1<<20))
		k.mu.Lock()
		k.calls++
		k.seen = append(k.seen, fmt.Sprint(r.URL, r.Header, body.String()))
		k.mu.Unlock()
		rw.Header().Set("Content-Type", "application/json")
		if !strings.Contains(r.Header.Get("Authorization"), k.nonce) {
			rw.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(rw, `{"error":"bad key"}`)
			return
		}
		fmt.Fprintf(rw, `{"issues":[{"title":"engine"}],"echo":%q}`, r.Header.Get("Authorization"))
	}))
	t.Cleanup(s.Close)
	k.url = s.URL
	return k
}

func (k *tracker) key(org string) string { return "canary-credential-" + org + "-" + k.nonce }

func (k *tracker) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls
}

func random(t *testing.T) string {
	t.Helper()
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
