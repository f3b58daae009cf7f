package dev

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/sample"
	"github.com/onbehalf/obo/telemetry"
)

// The hidden commands of obo that serve the samples.
const (
	IssuerCommand   = "dev-issuer"
	ProviderCommand = "dev-provider"
)

const accountsFile = "tracker-keys.json"

// startSamples starts the OpenID provider and the tracker. Each picks a port itself and prints its URL, which awaitSamples
// waits for: making the provider's RSA key takes a while, and the servers start meanwhile.
func (e *Env) startSamples(context.Context) error {
	if _, err := e.keep(mintFile); err != nil {
		return err
	}
	if err := e.makeAccounts(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, s := range []struct{ name, file, into string }{
		{IssuerCommand, mintFile, "issuer"},
		{ProviderCommand, accountsFile, "OBO_PROVIDER_URL"},
	} {
		line := newFirstLine()
		if _, err := e.run(spec{name: s.name, path: self, args: []string{s.name, "--file", e.path(s.file)}, stdout: line}); err != nil {
			return err
		}
		e.urls[s.into] = line.ready
	}
	return nil
}

// awaitSamples waits until both samples have said where they are.
func (e *Env) awaitSamples(ctx context.Context) error {
	for into, ready := range e.urls {
		select {
		case e.Vars[into] = <-ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// firstLine hands on the first line written to it.
type firstLine struct {
	ready chan string
	mu    sync.Mutex
	buf   bytes.Buffer
	done  bool
}

func newFirstLine() *firstLine { return &firstLine{ready: make(chan string, 1)} }

func (f *firstLine) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return len(p), nil
	}
	f.buf.Write(p)
	if line, _, ok := strings.Cut(f.buf.String(), "\n"); ok {
		f.done = true
		f.ready <- line
	}
	return len(p), nil
}

// reporting is the account of acme's service account at the tracker.
const reporting = "reporting of acme"

// makeAccounts gives each person, and acme's service account, an API key of the tracker; who has one keeps it.
func (e *Env) makeAccounts() error {
	keys := map[string]string{}
	known, err := readAccounts(e.path(accountsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, a := range known {
		keys[a.User] = a.Key.Reveal()
	}
	users := []string{reporting}
	for _, p := range sample.People() {
		users = append(users, account(p))
	}
	for _, u := range users {
		if keys[u] == "" {
			keys[u] = randomSecret().Reveal()
		}
	}
	data, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return writeFile(e.path(accountsFile), data)
}

func account(p sample.Person) string { return p.Name + " of " + p.Org }

// readAccounts reads the tracker's keys.
func readAccounts(path string) ([]sample.Account, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	if err := json.Unmarshal(data, &keys); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var out []sample.Account
	for user, key := range keys {
		out = append(out, sample.Account{User: user, Key: telemetry.Secret(key)})
	}
	return out, nil
}

// ServeIssuer is the OpenID provider's process: it prints its URL to out and serves until ctx ends.
func ServeIssuer(ctx context.Context, mintTokenFile string, out io.Writer) error {
	data, err := os.ReadFile(mintTokenFile)
	if err != nil {
		return err
	}
	return serve(ctx, out, func(url string) (http.Handler, error) {
		i, err := sample.NewIssuer(sample.IssuerConfig{URL: url, MintToken: telemetry.Secret(trim(data)), Now: time.Now})
		if err != nil {
			return nil, err
		}
		return i.Handler(), nil
	})
}

// ServeProvider is the tracker's process: it prints its URL to out and serves until ctx ends.
func ServeProvider(ctx context.Context, accounts string, out io.Writer) error {
	users, err := readAccounts(accounts)
	if err != nil {
		return err
	}
	return serve(ctx, out, func(url string) (http.Handler, error) {
		return sample.NewTracker(url, users, time.Now).Handler(), nil
	})
}

func serve(ctx context.Context, out io.Writer, handler func(url string) (http.Handler, error)) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	h, err := handler(url)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	fmt.Fprintln(out, url)
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stopped()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// HasIssuer reports whether the sample OpenID provider of a state directory is at hand.
func HasIssuer(dir string) bool {
	_, err := readLocal(dir)
	return err == nil
}

// PID is the process id of a server that runs in a state directory; 0 when it is not known.
func PID(dir, name string) int {
	l, err := readLocal(dir)
	if err != nil {
		return 0
	}
	return l.PIDs[name]
}

// MintIDToken signs somebody in at the OpenID provider of a state directory and returns the ID token.
func MintIDToken(ctx context.Context, dir string, r sample.MintRequest) (telemetry.Secret, error) {
	l, err := readLocal(dir)
	if err != nil {
		return "", err
	}
	return mint(ctx, l.Issuer, filepath.Join(dir, mintFile), r)
}

func mint(ctx context.Context, issuer, tokenFile string, r sample.MintRequest) (telemetry.Secret, error) {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, issuer+"/mint", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+trim(token))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		IDToken string `json:"id_token"`
		Error   string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&answer); err != nil {
		return "", err
	}
	if answer.IDToken == "" {
		return "", fmt.Errorf("the sample OpenID provider refused: %s", answer.Error)
	}
	return telemetry.Secret(answer.IDToken), nil
}

// randomSecret is 256 random bits.
func randomSecret() telemetry.Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return telemetry.Secret(base64.RawURLEncoding.EncodeToString(b[:]))
}

func trim(data []byte) string { return strings.TrimSpace(string(data)) }
