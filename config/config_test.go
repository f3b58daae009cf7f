package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const secret = "canary-0123456789abcdef0123456789abcdef"

// folder makes the files that the samples name.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cert, key := pair(t)
	_, other := pair(t)
	for name, content := range map[string]string{
		"kek": "k", "tls.key": key, "other.key": other, "tls.crt": cert, "ca.crt": cert, "db": "canary-password\n",
		"admin": secret + "\n", "feed": "feed-" + secret + "\n",
	} {
		write(t, filepath.Join(dir, name), content, 0o600)
	}
	return dir
}

// pair is a certificate and its key, in PEM.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"sts.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func sample(t *testing.T, name, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "DIR", dir)
}

func loadSTS(t *testing.T, dir, text string) (STS, error) {
	t.Helper()
	path := filepath.Join(dir, "config.yaml")
	write(t, path, text, 0o644)
	return LoadSTS(path)
}

func TestLoadSTS(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c, err := loadSTS(t, dir, sample(t, "sts.yaml", dir))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Store.URL.Reveal(), "postgres://obo:canary-password@db.example/obo?sslmode=verify-full"; got != want {
		t.Errorf("store.url = %q, want %q", got, want)
	}
	want := Limits{DefaultLife: 2 * time.Minute, MaxLife: 30 * time.Minute, MaxDepth: 7, MaxConcurrent: 64, OrgRate: 500, AgentRate: 50}
	if c.Limits != want || c.Signing.Algorithm != "PS256" || c.Signing.PKCS11.PIN.Reveal() == "" || c.Log.SlogLevel().String() != "DEBUG" {
		t.Errorf("read %+v", c)
	}
	if c.DPoP != (DPoP{RequireNonce: true, NonceLife: 10 * time.Minute}) || c.MTLSURL != "https://mtls.sts.example" ||
		!slices.Equal(c.Hosts(), []string{"sts.internal", "::1", "sts.example"}) {
		t.Errorf("read %+v, hosts %q", c, c.Hosts())
	}
	if token, err := c.Admin.Token(); err != nil || token.Reveal() != secret {
		t.Errorf("admin token: %v", err)
	}
	if printed := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(printed, "canary") {
		t.Errorf("a printed configuration holds the secret: %s", printed)
	}
}

func TestLoadExecutor(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	path := filepath.Join(dir, "config.yaml")
	write(t, path, sample(t, "executor.yaml", dir), 0o644)
	c, err := LoadExecutor(path)
	if err != nil {
		t.Fatal(err)
	}
	if file, ok := c.Store.SQLitePath(); !ok || file != filepath.Join(dir, "executor.db") {
		t.Errorf("store = %q, %v", file, ok)
	}
	if c.Feed.StaleAfter != 3*time.Second || c.Feed.TLS.ServerName != "sts.internal" || !c.Egress.AllowLoopback {
		t.Errorf("read %+v", c)
	}
	if c.DPoP != (DPoP{RequireNonce: true, NonceLife: 30 * time.Second}) || !c.RequireDPoP ||
		c.ResourceMetadata != "https://gateway.example/.well-known/oauth-protected-resource/executor" ||
		!slices.Equal(c.Hosts(), []string{"executor.internal", "127.0.0.1", "executor.example"}) {
		t.Errorf("read %+v, hosts %q", c, c.Hosts())
	}
}

// TestSamplesNameEveryKey keeps the samples whole: a field that no sample sets is a field that no test reads.
func TestSamplesNameEveryKey(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]any{"sts.yaml": STS{}, "executor.yaml": Executor{}} {
		text := sample(t, name, "/d")
		var walk func(reflect.Type)
		walk = func(typ reflect.Type) {
			if typ.Kind() == reflect.Pointer {
				typ = typ.Elem()
			}
			if typ.Kind() != reflect.Struct {
				return
			}
			for i := range typ.NumField() {
				f := typ.Field(i)
				key := f.Tag.Get("yaml")
				if f.Name == "TLS" && name == "executor.yaml" && typ == reflect.TypeFor[Listen]() {
					continue // the sample of the other server has it
				}
				if key == "" || !strings.Contains(text, key+":") {
					t.Errorf("%s does not name %s.%s (%q)", name, typ.Name(), f.Name, key)
				}
				walk(f.Type)
			}
		}
		walk(reflect.TypeOf(v))
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c, err := loadSTS(t, dir, fmt.Sprintf(`
issuer: http://127.0.0.1:8080
listen: {grpc: "127.0.0.1:0", http: "localhost:0"}
store: {url: "sqlite:%[1]s/db"}
key_file: %[1]s/kek
admin: {token_file: %[1]s/admin}
feed: {token_file: %[1]s/feed}
`, dir))
	if err != nil {
		t.Fatal(err)
	}
	want := Limits{DefaultLife: 5 * time.Minute, MaxLife: 15 * time.Minute, MaxDepth: 5, MaxConcurrent: 256}
	if c.Limits != want || c.Signing.Algorithm != "ES256" || c.Log != (Log{"info", "json"}) ||
		c.DPoP != (DPoP{NonceLife: 5 * time.Minute}) || c.MTLSURL != "" {
		t.Errorf("defaults: %+v", c)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, old, new, want string }{
		{"unknown key with its line", "issuer:", "isuer:", `line 2: unknown key "isuer"`},
		{"unknown nested key", "cert_file", "cert_fil", `line 6: unknown key "cert_fil"`},
		{"key twice", "signing:", "key_file: x\nsigning:", "already defined"},
		{"second document", "log:", "---\nlog:", "more than one YAML document"},
		{"wrong type", "max_depth: 7", "max_depth: seven", "line 18"},
		{"a key that moves", "arn:aws:kms:eu-central-1:111122223333:key/1234", "alias/obo", "key_encryption.key: is an alias"},
		{"key encryption from nowhere", "{source: awskms, key:", "{source: kms, key:", "key_encryption.source: "},
		{"key encryption by no key", `key: "arn:aws:kms:eu-central-1:111122223333:key/1234", `, "", "key_encryption.key: "},
		{"key encryption in no region", `awskms: {region: eu-central-1, endpoint: "https://kms.vpc.example"}, pkcs11`, "pkcs11", "key_encryption.awskms: "},
		{"plaintext off loopback", "  tls: {cert_file: DIR/tls.crt, key_file: DIR/tls.key}\n", "", "listen.grpc: is reachable"},
		{"every address", "0.0.0.0:8443", "'8443'", "listen.grpc: is no host:port"},
		{"a port that is none", "0.0.0.0:8443", "0.0.0.0:118443", `listen.grpc: there is no port "118443": use a number from 1 to 65535`},
		{"a port by its name", "0.0.0.0:8443", "0.0.0.0:https", `listen.grpc: there is no port "https"`},
		{"a negative port", "0.0.0.0:8443", "0.0.0.0:-1", `listen.grpc: there is no port "-1"`},
		{"issuer with a port that is none", "https://sts.example", "https://sts.example:65536", `issuer: there is no port "65536"`},
		{"issuer in clear", "https://sts", "http://sts", "issuer: is http on an address that is not loopback"},
		{"issuer with slash", "https://sts.example", "https://sts.example/", "trailing slash"},
		{"issuer with query", "https://sts.example", "https://sts.example?a", "has a query"},
		{"issuer with user", "https://sts.example", "https://u:p@sts.example", "issuer: is no URL"},
		{"store engine", "postgres://obo:${file:DIR/db}@db", "mysql://db", "store.url: is no URL of a store"},
		{"relative path", "postgres://obo:${file:DIR/db}@db.example/obo?sslmode=verify-full", "sqlite:a.db", "absolute"},
		{"file reference to nowhere", "DIR/db}", "DIR/none}", "create the file or correct the path"},
		{"empty environment", "${file:DIR/db}", "${env:OBO_TEST_UNSET}", "environment variable OBO_TEST_UNSET is not set"},
		{"unknown reference", "${file:DIR/db}", "${vault:x}", "a reference must be"},
		{"open reference", "${file:DIR/db}@db.example/obo?sslmode=verify-full", "${file:DIR/db", "a reference must be"},
		{"inline password in an open file", "${file:DIR/db}", "canary-inline", "store.url: DIR/config.yaml has mode 0644"},
		{"same credential", "DIR/feed}", "DIR/admin}", "a follower must not be an operator"},
		{"algorithm", "PS256", "none", `signing.algorithm: "none" is unknown`},
		{"depth", "max_depth: 7", "max_depth: 11", "limits.max_depth: is 11: use 1 to 10"},
		{"default above maximum", "default_life: 2m", "default_life: 40m", "use 10s to 30m"},
		{"life", "max_life: 30m", "max_life: 2h", "limits.max_life"},
		{"concurrency", "max_concurrent: 64", "max_concurrent: -1", "limits.max_concurrent"},
		{"TE15 org rate", "org_rate: 500", "org_rate: -1", "limits.org_rate: is -1: use 0 to 1000000"},
		{"TE15 agent rate", "agent_rate: 50", "agent_rate: 9000000", "limits.agent_rate"},
		{"DP4 nonce life", "nonce_life: 10m", "nonce_life: 2h", "dpop.nonce_life: is 2h: use 10s to 1h"},
		{"DP10 host with a port", "sts.internal", "'sts.internal:8443'", `listen.hosts: "sts.internal:8443" is no host`},
		{"DP10 host that is a URL", "sts.internal", "'https://sts.internal'", "listen.hosts"},
		{"DP10 no host", "sts.internal", "''", "listen.hosts"},
		{"MT3 certificates in clear", "https://mtls.sts.example", "http://127.0.0.1:1", "mtls_url: is no https URL"},
		{"MT3 certificates without TLS of ours", "  tls: {cert_file: DIR/tls.crt, key_file: DIR/tls.key}\n", "", "mtls_url: needs listen.tls"},
		{"a certificate that is none", "cert_file: DIR/tls.crt", "cert_file: DIR/db", "listen.tls: the certificate cannot be served"},
		{"a key that is not the certificate's", "DIR/tls.key", "DIR/other.key", "listen.tls: the certificate cannot be served"},
		{"level", "level: debug", "level: loud", "log.level"},
		{"no key file", "key_file: DIR/kek", "key_file: ''", "key_file: is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t)
			text, put := sample(t, "sts.yaml", dir), func(s string) string { return strings.ReplaceAll(s, "DIR", dir) }
			if !strings.Contains(text, put(tt.old)) {
				t.Fatalf("the sample has no %q", tt.old)
			}
			_, err := loadSTS(t, dir, strings.Replace(text, put(tt.old), put(tt.new), 1))
			if err == nil || !strings.Contains(err.Error(), put(tt.want)) {
				t.Fatalf("error %v, want %q", err, put(tt.want))
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

// TestLoadKeyEncryption: a file for init has key_encryption, in order, and nothing else.
func TestLoadKeyEncryption(t *testing.T) {
	t.Parallel()
	const good = "key_encryption:\n  source: awskms\n  key: \"1234\"\n  awskms: {region: eu-central-1}\n"
	for text, want := range map[string]string{
		good: "", "issuer: x\n" + good: "unknown key", "{}": "key_encryption: ", strings.Replace(good, "1234", "alias/x", 1): "is an alias",
	} {
		file := filepath.Join(t.TempDir(), "encryption.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, written, err := LoadKeyEncryption(file)
		if want == "" && (err != nil || got.Source != "awskms" || got.AWSKMS.Region != "eu-central-1" || written != good) {
			t.Errorf("%+v, %q, %v", got, written, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestSecretFileModes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kek", "admin", "feed", "tls.key", "db"} {
		for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
			dir := folder(t)
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
			_, err := loadSTS(t, dir, sample(t, "sts.yaml", dir))
			if err == nil || !strings.Contains(err.Error(), "chmod 600 "+filepath.Join(dir, name)) {
				t.Errorf("%s with mode %o: error %v", name, mode, err)
			}
		}
	}
}

func TestTokenFiles(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"short": "hunter2", "empty": "", "space within": "0123456789abcdef 0123456789abcdef", "not ASCII": strings.Repeat("é", 20),
	} {
		path := filepath.Join(t.TempDir(), "token")
		write(t, path, content, 0o600)
		_, err := Credential{TokenFile: path}.Token()
		if err == nil || content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := (Credential{TokenFile: t.TempDir()}).Token(); err == nil {
		t.Error("a folder is no secret file")
	}
}

// TestAllProblemsAtOnce: whoever writes a configuration wants one round, not ten.
func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := loadSTS(t, t.TempDir(), "logs: {}\nlog: {level: loud}\nlimits: {max_depth: 99, org_rate: many}\n")
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("error %v", err)
	}
	want := []string{"", "", "issuer", "listen.grpc", "listen.http", "store.url", "key_file", "admin.token_file", "feed.token_file",
		"limits.max_depth", "log.level"}
	var got []string
	for _, p := range invalid.Problems {
		got = append(got, p.Path)
		if p.What == "" || p.Do == "" {
			t.Errorf("%+v says not what is wrong, or not what to do", p)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("problems at %v, want %v", got, want)
	}
	if _, err := LoadExecutor(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := (&Executor{}).Validate(); !errors.As(err, &invalid) || len(invalid.Problems) < 8 {
		t.Errorf("empty executor configuration: %v", err)
	}
}

// TestResourceMetadata: MD7. The default is what RFC 9728 §3.1 makes of the audience; what cannot be served is refused.
func TestResourceMetadata(t *testing.T) {
	t.Parallel()
	for audience, want := range map[string]string{
		"https://executor.example":        "https://executor.example/.well-known/oauth-protected-resource",
		"https://executor.example/":       "https://executor.example/.well-known/oauth-protected-resource",
		"https://gw.example:8443/a/b":     "https://gw.example:8443/.well-known/oauth-protected-resource/a/b",
		"http://127.0.0.1:8081":           "http://127.0.0.1:8081/.well-known/oauth-protected-resource",
		"http://executor.example":         "", // a document in clear would tell agents where to send tokens
		"urn:obo:executor":                "",
		"https://executor.example/?a=b":   "",
		"https://executor.example/{a}":    "",
		"https://executor.example//a":     "", // no router can serve it
		"https://executor.example/a/../b": "",
		"https://user@executor.example/x": "",
	} {
		c := Executor{Audience: audience}
		c.setDefaults()
		if c.ResourceMetadata != want {
			t.Errorf("%s: %q, want %q", audience, c.ResourceMetadata, want)
		}
	}
	for value, ok := range map[string]bool{
		"https://gw.example/.well-known/oauth-protected-resource":     true,
		"https://gw.example/.well-known/oauth-protected-resource/mcp": true,
		"https://gw.example/.well-known/oauth-protected-resource-x":   false,
		"https://gw.example/": false,
		"https://gw.example/.well-known/oauth-protected-resource?a":       false,
		"https://gw.example/.well-known/oauth-protected-resource/{a}":     false,
		"https://gw.example/.well-known/oauth-protected-resource//a":      false,
		"https://gw.example/.well-known/oauth-protected-resource/a/../b":  false,
		"http://gw.example/.well-known/oauth-protected-resource":          false,
		"/.well-known/oauth-protected-resource":                           false,
		"https://gw.example/x/.well-known/oauth-protected-resource/../..": false,
	} {
		var invalid *InvalidError
		err := (&Executor{ResourceMetadata: value}).Validate()
		found := errors.As(err, &invalid) &&
			slices.ContainsFunc(invalid.Problems, func(p Problem) bool { return p.Path == "resource_metadata" })
		if found == ok {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// TestFeedPort: a feed is dialled, so 0 is no port of it.
func TestFeedPort(t *testing.T) {
	t.Parallel()
	for port, ok := range map[string]bool{"1": true, "65535": true, "0": false, "65536": false, "8443x": false} {
		var invalid *InvalidError
		err := (&Executor{Feed: Feed{Address: "sts.example:" + port}}).Validate()
		if !errors.As(err, &invalid) || slices.ContainsFunc(invalid.Problems, func(p Problem) bool { return p.Path == "feed.address" }) == ok {
			t.Errorf("%s: %v", port, err)
		}
	}
}

func TestFeedIsPlaintextOnlyOnLoopback(t *testing.T) {
	t.Parallel()
	for address, plain := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "[::ffff:127.0.0.1]:1": true,
		"sts.example:1": false, "10.0.0.1:1": false, "localhost.example:1": false, "0.0.0.0:1": false,
	} {
		c, err := Feed{Address: address}.TLSConfig()
		if err != nil || (c == nil) != plain {
			t.Errorf("%s: plaintext %v, want %v (%v)", address, c == nil, plain, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"sts.yaml", "executor.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("a: &a [*a, *a]")
	f.Add("? {}")
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range []document{new(STS), new(Executor)} {
			found, readable := decode([]byte(text), c)
			for _, p := range found {
				if p.What == "" || p.Do == "" {
					t.Errorf("a problem without words: %+v", p)
				}
			}
			if !readable {
				continue
			}
			var p problems
			c.setDefaults()
			c.check(&p)
			_ = p.err("f")
		}
	})
}
