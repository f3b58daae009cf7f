package e2e_test

import (
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// blackhole is a TCP proxy that can stop carrying bytes without closing anything, as a broken network does.
type blackhole struct {
	addr string
	cut  atomic.Bool
}

func newBlackhole(t *testing.T, target string) *blackhole {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &blackhole{addr: l.Addr().String()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			mu.Lock()
			open = append(open, in, out)
			mu.Unlock()
			wg.Go(func() { b.carry(out, in) })
			wg.Go(func() { b.carry(in, out) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return b
}

func (b *blackhole) carry(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if b.cut.Load() {
			continue // swallowed
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestStaleFeedRefuses: an executor that is cut off from the feed refuses within its bound, recovers by itself, and one
// that was restarted knows what was revoked while it was down.
func TestStaleFeedRefuses(t *testing.T) {
	t.Parallel()
	var hole *blackhole
	w := newWorld(t, options{feedThrough: func(addr string) string { hole = newBlackhole(t, addr); return hole.addr }})
	w.apply(t, "acme")
	sts := obov1.NewExchangeServiceClient(dial(t, w.stsAddr))
	admin := obov1.NewAdminServiceClient(dial(t, w.stsAddr))
	executor := obov1.NewExecutorServiceClient(dial(t, w.execAddr))
	ctx := t.Context()
	mint := func() string {
		t.Helper()
		r, err := w.first(ctx, sts, "acme", w.idp.idToken(t, "acme"), "tracker:issues:read")
		if err != nil {
			t.Fatal(err)
		}
		return r.GetAccessToken()
	}
	list := func(token string) codes.Code {
		_, err := executor.ListTools(bearer(ctx, token), &obov1.ListToolsRequest{})
		return status.Code(err)
	}
	within := func(what string, bound time.Duration, token string, want codes.Code) time.Duration {
		t.Helper()
		began := time.Now()
		for time.Since(began) < bound {
			if list(token) == want {
				return time.Since(began)
			}
			time.Sleep(time.Millisecond)
		}
		t.Fatalf("%s: still %s after %s, want %s", what, list(token), bound, want)
		return 0
	}
	token := mint()
	within("the first bundle", 10*time.Second, token, codes.OK)

	hole.cut.Store(true)
	took := within("cut off (bound 2 s)", 5*time.Second, token, codes.Unavailable)
	t.Logf("cut off from the feed: refused after %s", took)
	hole.cut.Store(false)
	took = within("back again", 30*time.Second, token, codes.OK)
	t.Logf("feed back: accepted after %s", took)

	// Revoke to refusal, measured on this machine.
	var lags []time.Duration
	for range 20 {
		token := mint()
		if got := list(token); got != codes.OK {
			t.Fatalf("a fresh token: %s", got)
		}
		claims := claimsOf(t, token)
		began := time.Now()
		if _, err := admin.Revoke(bearer(ctx, w.admin), &obov1.RevokeRequest{OrgId: "acme", Kind: "token", Id: claims["jti"].(string)}); err != nil {
			t.Fatal(err)
		}
		within("revoked", 5*time.Second, token, codes.Unauthenticated)
		lags = append(lags, time.Since(began))
	}
	slices.Sort(lags)
	t.Logf("revoke to refusal: p50 %s, max %s", lags[len(lags)/2], lags[len(lags)-1])

	// Revoked while the executor is down.
	token = mint()
	within("a fresh token", time.Second, token, codes.OK)
	w.executor.kill()
	if _, err := admin.Revoke(bearer(ctx, w.admin), &obov1.RevokeRequest{OrgId: "acme", Kind: "agent", Id: "orchestrator"}); err != nil {
		t.Fatal(err)
	}
	w.executor.start(t)
	w.executor.await(t, w.execAddr)
	within("revoked while down", 10*time.Second, token, codes.Unauthenticated)
}
