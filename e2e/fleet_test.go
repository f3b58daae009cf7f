//go:build slow

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // the client's half: a replica that does not serve gets no calls
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// stop is SIGTERM: the server drains, and must end well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("a drain ended with %v", err)
	}
	p.cmd = nil
}

// balanced is a connection as docs/CLIENTS.md tells to make it.
func balanced(t *testing.T, addresses ...string) *grpc.ClientConn {
	t.Helper()
	page, err := os.ReadFile("../docs/CLIENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	config := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(page)
	if config == nil {
		t.Fatal("docs/CLIENTS.md has no service configuration")
	}
	replicas := manual.NewBuilderWithScheme("replicas")
	state := resolver.State{}
	for _, a := range addresses {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	replicas.InitialState(state)
	conn, err := grpc.NewClient("replicas:///", grpc.WithResolvers(replicas), grpc.WithDefaultServiceConfig(string(config[1])),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// spreader sends HTTP requests to the replicas in turn, as a load balancer that probes does.
type spreader struct {
	urls []string
	up   []atomic.Bool
	out  []atomic.Bool // taken out by hand
	turn atomic.Uint64
}

const probeEvery = 100 * time.Millisecond

func newSpreader(ctx context.Context, group *sync.WaitGroup, urls ...string) *spreader {
	s := &spreader{urls: urls, up: make([]atomic.Bool, len(urls)), out: make([]atomic.Bool, len(urls))}
	for i, u := range urls {
		s.up[i].Store(true)
		group.Go(func() {
			for ctx.Err() == nil {
				resp, err := http.Get(u + "/healthz")
				s.up[i].Store(err == nil && resp.StatusCode == http.StatusOK)
				if err == nil {
					resp.Body.Close()
				}
				time.Sleep(probeEvery)
			}
		})
	}
	return s
}

// post goes to the next replica that is up, and to the one after it when a connection is refused.
func (s *spreader) post(ctx context.Context, form url.Values) error {
	last := errors.New("no replica is up")
	for range 2 * len(s.urls) {
		i := int(s.turn.Add(1)) % len(s.urls)
		if !s.up[i].Load() || s.out[i].Load() {
			continue
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.urls[i]+"/token", strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(r)
		if errors.Is(err, syscall.ECONNREFUSED) {
			last = err
			continue
		}
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			err = errors.Join(err, fmt.Errorf("%s: %s", resp.Status, body))
		}
		return err
	}
	return last
}

// load is exchanges over both doors of both replicas, until it is ended.
type load struct {
	grpc, http atomic.Int64
	spread     *spreader
	mu         sync.Mutex
	failed     []string
	end        func()
}

func (w *world) startLoad(t *testing.T) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	l := &load{spread: newSpreader(ctx, &group, w.issuer, w.replica)}
	l.end = sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(l.end)
	note := func(door string, n *atomic.Int64, err error) {
		if err == nil {
			n.Add(1)
		} else if ctx.Err() == nil {
			l.mu.Lock()
			l.failed = append(l.failed, fmt.Sprintf("%s %s: %v", time.Now().Format("05.000"), door, err))
			l.mu.Unlock()
		}
		time.Sleep(2 * time.Millisecond)
	}
	const workers = 3
	id := "acme.orchestrator"
	for range workers {
		subject := w.idp.idToken(t, "acme")
		c := obov1.NewExchangeServiceClient(balanced(t, w.stsAddr, w.address2))
		group.Go(func() {
			for ctx.Err() == nil {
				first, err := w.first(ctx, c, "acme", subject, "tracker:issues:read")
				note("gRPC, first hop", &l.grpc, err)
				if err == nil {
					_, err = w.delegate(ctx, t, c, "acme", first.GetAccessToken(), "tracker:issues:read")
					note("gRPC, delegation", &l.grpc, err)
				}
			}
		})
		group.Go(func() {
			for ctx.Err() == nil {
				note("HTTP", &l.http, l.spread.post(ctx, url.Values{
					"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {subject}, "subject_token_type": {typeIDToken},
					"resource": {audience}, "scope": {"tracker:issues:read"}, "client_id": {id}, "client_secret": {w.secrets[id]},
				}))
			}
		})
	}
	return l
}

// more waits until so many more exchanges went through each door.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	byGRPC, byHTTP := l.grpc.Load()+n, l.http.Load()+n
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if l.grpc.Load() >= byGRPC && l.http.Load() >= byHTTP {
			return
		}
	}
	t.Fatalf("the load has stopped: %d by gRPC, %d by HTTP, failed: %q", l.grpc.Load(), l.http.Load(), l.failed)
}

// report ends the load; not one exchange may have failed.
func (l *load) report(t *testing.T) {
	t.Helper()
	l.end()
	for i, f := range l.failed {
		if i < 20 {
			t.Errorf("failed: %s", f)
		}
	}
	t.Logf("%d exchanges by gRPC, %d by HTTP, %d failed", l.grpc.Load(), l.http.Load(), len(l.failed))
}
