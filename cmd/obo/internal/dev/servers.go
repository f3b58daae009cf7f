package dev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/jose"
)

// The files that the servers' init makes.
const (
	keyFile   = "kek.json"
	adminFile = "admin.token"
	feedFile  = "feed.token"
)

// stsConfig and executorConfig replace the samples that init writes: the ports are this run's. One operator's credential
// serves both, since here one person operates both.
const stsConfig = `# written by obo dev at each start
issuer: %[1]s
listen: {grpc: "%[2]s", http: "%[3]s"}
store: {url: "%[4]s"}
key_file: "%[5]s/sts/kek.json"
admin: {token_file: "%[5]s/sts/admin.token"}
feed: {token_file: "%[5]s/sts/feed.token"}
egress: {allow_loopback: true}
dpop: {require_nonce: true}
log: {level: %[6]s, format: text}
`

const executorConfig = `# written by obo dev at each start
audience: %[1]s
issuer: %[2]s
feed: {address: "%[3]s", token_file: "%[7]s/sts/feed.token"}
listen: {grpc: "%[4]s", http: "%[5]s"}
store: {url: "%[6]s"}
key_file: "%[7]s/executor/kek.json"
admin: {token_file: "%[7]s/sts/admin.token"}
egress: {allow_loopback: true}
dpop: {require_nonce: true}
log: {level: %[8]s, format: text}
`

// agents are those that the env file speaks of, with the names of their variables.
func agents() []devAgent {
	return []devAgent{
		{org: "acme", name: "orchestrator", prefix: "OBO_ORCHESTRATOR", first: true},
		{org: "acme", name: "researcher", prefix: "OBO_RESEARCHER"},
		{org: "acme", name: "resource-server", prefix: "OBO_RESOURCE_SERVER"},
		{org: "globex", name: "assistant", prefix: "OBO_ORG2_AGENT", first: true},
	}
}

type devAgent struct {
	org, name, prefix string
	first             bool // gets a token at a first hop
}

// makeState makes what a first start needs and a later one keeps: the servers' key-encryption keys and credentials, the
// agents' private keys, the databases.
func (e *Env) makeState(ctx context.Context) error {
	for _, server := range []string{"sts", "executor"} {
		if _, err := os.Stat(e.path(server, keyFile)); err == nil {
			continue
		}
		binary, err := find("obo-" + server)
		if err != nil {
			return err
		}
		if err := runOnce(ctx, binary, "init", "--dir", e.path(server)); err != nil {
			return err
		}
	}
	for _, a := range agents() {
		path := e.path("keys", a.org+"."+a.name+".jwk")
		if err := makeKey(path, a.org+"."+a.name); err != nil {
			return err
		}
		e.Vars[a.prefix+"_KEY"] = path
	}
	e.Vars["OBO_ADMIN_TOKEN_FILE"] = e.path("sts", adminFile)
	if e.config.Postgres == "" {
		return nil
	}
	name, err := e.keep("database.tag")
	if err != nil {
		return err
	}
	e.database, err = provision(ctx, e.config.Postgres, tag(name))
	return err
}

// makeKey makes an agent's private key, unless it is there.
func makeKey(path, kid string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		return err
	}
	data, err := jose.MarshalPrivateJWK(kid, jose.ES256, key)
	if err != nil {
		return err
	}
	return writeFile(path, data)
}

// find finds a binary beside this one: the three are built and shipped together.
func find(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", explain.Failure(name+" is not beside obo", err, "build all three: make build")
	}
	return path, nil
}

// store is the URL of one server's database.
func (e *Env) store(server string) string {
	if e.database != nil {
		return e.database.dsn[server]
	}
	return "sqlite:" + e.path(server, server+".db")
}

func (e *Env) startSTS(ctx context.Context) error {
	addr, err := freeAddresses(ctx, 2)
	if err != nil {
		return err
	}
	e.Vars["OBO_STS_GRPC"], e.Vars["OBO_ISSUER"] = addr[0], "http://"+addr[1]
	text := fmt.Sprintf(stsConfig, e.Vars["OBO_ISSUER"], addr[0], addr[1], e.store("sts"), e.Dir, e.config.LogLevel)
	return e.startServer(ctx, "obo-sts", e.path("sts", "dev.yaml"), text, addr[0])
}

// StartReplica starts another obo-sts on the environment's database, under the same issuer, and answers with its gRPC address.
// SQLite serves one process alone.
func (e *Env) StartReplica(ctx context.Context) (string, error) {
	if e.database == nil {
		return "", errors.New("a second replica needs PostgreSQL")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	addr, err := freeAddresses(ctx, 2)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf(stsConfig, e.Vars["OBO_ISSUER"], addr[0], addr[1], e.store("sts"), e.Dir, e.config.LogLevel)
	return addr[0], e.startServer(ctx, "obo-sts", e.path("sts", "replica.yaml"), text, addr[0])
}

func (e *Env) startExecutor(ctx context.Context) error {
	addr, err := freeAddresses(ctx, 2)
	if err != nil {
		return err
	}
	e.Vars["OBO_EXECUTOR_GRPC"], e.Vars["OBO_EXECUTOR_HTTP"] = addr[0], "http://"+addr[1]
	e.Vars["OBO_EXECUTOR_AUDIENCE"] = "http://" + addr[1]
	text := fmt.Sprintf(executorConfig, e.Vars["OBO_EXECUTOR_AUDIENCE"], e.Vars["OBO_ISSUER"], e.Vars["OBO_STS_GRPC"],
		addr[0], addr[1], e.store("executor"), e.Dir, e.config.LogLevel)
	return e.startServer(ctx, "obo-executor", e.path("executor", "dev.yaml"), text, addr[0])
}

func (e *Env) startServer(ctx context.Context, name, config, text, address string) error {
	binary, err := find(name)
	if err != nil {
		return err
	}
	if err := writeFile(config, []byte(text)); err != nil {
		return err
	}
	if _, err := e.run(spec{name: name, path: binary, args: []string{"serve", "-c", config}}); err != nil {
		return err
	}
	return awaitHealth(ctx, address)
}

// awaitHealth waits until a gRPC server says that it serves (GR8).
func awaitHealth(ctx context.Context, address string) error {
	conn, err := remote.Dial(address, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	return retry(ctx, func(ctx context.Context) error {
		answer, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			conn.ResetConnectBackoff()
			return err
		}
		if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			return fmt.Errorf("%s says %s", address, answer.GetStatus())
		}
		return nil
	})
}

// retry repeats until f succeeds or ctx ends; then it says what was wrong last.
func retry(ctx context.Context, f func(context.Context) error) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// freeAddresses finds loopback ports that nobody listens on. All are held until all are known, so that they differ.
func freeAddresses(ctx context.Context, n int) ([]string, error) {
	out := make([]string, n)
	for i := range out {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out[i] = l.Addr().String()
	}
	return out, nil
}
