//go:build slow

package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

var (
	chaosSeed = flag.Uint64("chaos.seed", 0, "of the sequence of failures; 0 takes another each time")
	chaosFor  = flag.Duration("chaos.for", time.Minute, "how long things fail")
)

// stsStale is the bound of a replica itself.
const stsStale = 5 * time.Second

// watched is somebody who decides on tokens, and the bound that he states.
type watched struct {
	name  string
	bound time.Duration
	judge func(ctx context.Context, token string) (verdict, error)
	pause time.Duration // between two questions
}

// issued is a token and what has become of it.
type issued struct {
	token, jti, txn string

	mu        sync.Mutex
	asked     bool                 // a revocation was asked for; perhaps it is in force
	confirmed time.Time            // when the revocation had been confirmed; zero if never
	refused   map[string]time.Time // by watcher: when it had first refused the token as revoked
}

// chaos is the model: what must hold whatever fails.
type chaos struct {
	*world
	t       *testing.T
	rnd     *rand.Rand
	cluster *pgtest.Cluster
	proxies []*stall
	grpc    []string // of the replicas
	stopped []bool   // replicas
	paused  bool     // PostgreSQL
	said    map[string]map[verdict]int

	mu     sync.Mutex
	tokens []*issued
}

// TestChaos: RV7, GR8. Followers are cut off, PostgreSQL hangs, replicas hang, in any order. Nobody ever takes a token whose
// revocation was confirmed longer ago than his bound, or one that he has refused as revoked before; and when all is well again,
// everybody takes good tokens by himself.
func TestChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d: go test -tags slow ./e2e -run TestChaos -chaos.seed %d", seed, seed)
	cluster, err := pgtest.Start(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Stop() })
	c := &chaos{t: t, rnd: rand.New(rand.NewPCG(seed, seed)), cluster: cluster, said: map[string]map[verdict]int{}, stopped: make([]bool, 2)}
	c.world = newWorld(t, options{stsStore: cluster.Database(t), replica: true, feedThrough: func(address string) string {
		p := newStall(t, address)
		c.proxies = append(c.proxies, p)
		return p.addr
	}})
	t.Cleanup(func() { c.healAll() }) // before everything else ends: what stands still cannot end
	c.apply(t, "acme")
	c.grpc = []string{c.stsAddr, c.address2}
	all := []watched{c.overExecutor(), c.atReplica(0), c.atReplica(1)}
	for i, address := range c.grpc {
		p := newStall(t, address)
		c.proxies = append(c.proxies, p)
		all = append(all, watched{fmt.Sprintf("follower of replica %d", i), staleAfter, c.newVerifier(t, p.addr).judge, time.Millisecond})
	}
	c.issue()
	c.settle(all)

	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, w := range all {
		c.said[w.name] = map[verdict]int{}
	}
	for _, w := range all {
		group.Go(func() { c.ask(ctx, w) })
	}
	steps := map[string]int{}
	for began, round := time.Now(), 1; time.Since(began) < *chaosFor; {
		steps[c.step()]++
		time.Sleep(time.Duration(20+c.rnd.IntN(500)) * time.Millisecond)
		if time.Since(began) > time.Duration(round)**chaosFor/3 {
			round++
			c.settle(all)
		}
	}
	c.settle(all)
	cancel()
	group.Wait()
	t.Logf("%v steps, %d tokens", steps, len(c.tokens))
	for name, n := range c.said {
		t.Logf("%s: %v", name, n)
		if n[accepted] == 0 || n[revoked] == 0 {
			t.Errorf("%s never both took and refused: the run shows nothing", name)
		}
	}
}

// step does one thing.
func (c *chaos) step() string {
	i, p := c.rnd.IntN(2), c.proxies[c.rnd.IntN(len(c.proxies))]
	switch n := c.rnd.IntN(100); {
	case n < 12:
		p.hold.Store(true)
		return "hold"
	case n < 18:
		p.swallow.Store(true)
		return "swallow"
	case n < 38:
		p.heal()
		return "heal"
	case n < 43 && !c.paused:
		c.pause()
		return "PostgreSQL hangs"
	case n < 55 && c.paused:
		c.resume()
		return "PostgreSQL goes on"
	case n < 60 && !c.stopped[0] && !c.stopped[1]:
		c.signal(i, syscall.SIGSTOP)
		return "a replica hangs"
	case n < 70 && c.stopped[i]:
		c.signal(i, syscall.SIGCONT)
		return "a replica goes on"
	case n < 85:
		c.revoke()
		return "revoke"
	default:
		c.issue()
		return "exchange"
	}
}

func (c *chaos) signal(replica int, s syscall.Signal) {
	p := c.sts
	if replica == 1 {
		p = c.second
	}
	if err := syscall.Kill(p.pid(), s); err != nil {
		c.t.Error(err)
	}
	c.stopped[replica] = s == syscall.SIGSTOP
}

func (c *chaos) pause() {
	if err := c.cluster.Pause(); err != nil {
		c.t.Error(err)
	}
	c.paused = true
}

func (c *chaos) resume() {
	if err := c.cluster.Resume(); err != nil {
		c.t.Error(err)
	}
	c.paused = false
}

// healAll ends every failure.
func (c *chaos) healAll() {
	for _, p := range c.proxies {
		p.heal()
	}
	if c.paused {
		c.resume()
	}
	for i := range c.stopped {
		if c.stopped[i] {
			c.signal(i, syscall.SIGCONT)
		}
	}
}

// live is a replica that does not hang.
func (c *chaos) live() string {
	i := c.rnd.IntN(2)
	if c.stopped[i] {
		i = 1 - i
	}
	return c.grpc[i]
}

// issue gets one more token, if it can be had.
func (c *chaos) issue() *issued {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
	defer cancel()
	r, err := c.first(ctx, obov1.NewExchangeServiceClient(dial(c.t, c.live())), "acme", c.idp.idToken(c.t, "acme"), "tracker:issues:read")
	if err != nil {
		return nil
	}
	claims := claimsOf(c.t, r.GetAccessToken())
	i := &issued{token: r.GetAccessToken(), jti: claims["jti"].(string), txn: claims["txn"].(string), refused: map[string]time.Time{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens = append(c.tokens, i)
	return i
}

// revoke revokes a token that is good, at a live replica. An answer that does not come leaves open whether it is in force.
func (c *chaos) revoke() {
	c.mu.Lock()
	var good []*issued
	for _, i := range c.tokens {
		if !i.asked {
			good = append(good, i)
		}
	}
	c.mu.Unlock()
	if len(good) < 2 { // one stays good
		return
	}
	i := good[c.rnd.IntN(len(good))]
	request := &obov1.RevokeRequest{OrgId: "acme", Kind: "token", Id: i.jti}
	if c.rnd.IntN(2) == 0 {
		request = &obov1.RevokeRequest{OrgId: "acme", Kind: "transaction", Id: i.txn}
	}
	ctx, cancel := context.WithTimeout(bearer(c.t.Context(), c.admin), 2*time.Second)
	defer cancel()
	i.mu.Lock()
	i.asked = true
	i.mu.Unlock()
	_, err := obov1.NewAdminServiceClient(dial(c.t, c.live())).Revoke(ctx, request)
	if err != nil {
		return
	}
	i.mu.Lock()
	i.confirmed = time.Now()
	i.mu.Unlock()
}

// ask asks one watcher about the tokens, over and over, and holds the answers against the model. Times are taken around the call: what
// a call that began later than the bound may not answer, and what one that ended has answered.
func (c *chaos) ask(ctx context.Context, w watched) {
	for n := 0; ctx.Err() == nil; n++ {
		c.mu.Lock()
		recent := c.tokens[max(0, len(c.tokens)-40):]
		i := recent[n%len(recent)]
		c.mu.Unlock()
		began := time.Now()
		got, err := w.judge(ctx, i.token)
		ended := time.Now()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.t.Errorf("%s: %v", w.name, err)
			return
		}
		i.mu.Lock()
		c.said[w.name][got]++
		switch {
		case got == accepted && !i.confirmed.IsZero() && began.Sub(i.confirmed) > w.bound:
			c.t.Errorf("%s took a token in a call that began %s after its revocation was confirmed (bound %s)", w.name,
				began.Sub(i.confirmed), w.bound)
		case got == accepted && !i.refused[w.name].IsZero() && began.After(i.refused[w.name]):
			c.t.Errorf("%s took a token that it had refused as revoked %s before", w.name, began.Sub(i.refused[w.name]))
		case got == revoked && !i.asked:
			c.t.Errorf("%s refused a token as revoked that nobody revoked", w.name)
		case got == revoked && i.refused[w.name].IsZero():
			i.refused[w.name] = ended
		}
		i.mu.Unlock()
		time.Sleep(w.pause)
	}
}

// settle ends every failure, and waits until everybody decides right again, without any help.
func (c *chaos) settle(all []watched) {
	c.t.Helper()
	c.healAll()
	const bound = 30 * time.Second // generous: the machine may be busy
	began := time.Now()
	within := func(what string, holds func() bool) {
		c.t.Helper()
		for !holds() {
			if time.Since(began) > bound {
				c.t.Fatalf("%s: not so %s after the last failure ended", what, bound)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	var fresh *issued
	within("an exchange", func() bool { fresh = c.issue(); return fresh != nil })
	for _, w := range all {
		within(w.name+" takes a good token", func() bool { got, _ := w.judge(c.t.Context(), fresh.token); return got == accepted })
		for _, i := range slices.Clone(c.tokens) {
			i.mu.Lock()
			want, known := accepted, !i.asked || !i.confirmed.IsZero()
			if i.asked {
				want = revoked
			}
			i.mu.Unlock()
			if !known {
				continue
			}
			within(fmt.Sprintf("%s: a token is %s", w.name, want), func() bool { got, _ := w.judge(c.t.Context(), i.token); return got == want })
		}
	}
	c.t.Logf("all is well again %s after the last failure ended", time.Since(began).Round(time.Millisecond))
}

// overExecutor is the executor, through its feed.
func (c *chaos) overExecutor() watched {
	x := obov1.NewExecutorServiceClient(dial(c.t, c.execAddr))
	return watched{"executor", 2 * time.Second, func(ctx context.Context, token string) (verdict, error) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_, err := x.ListTools(bearer(ctx, token), &obov1.ListToolsRequest{})
		return ofCode(err, codes.Unauthenticated)
	}, 5 * time.Millisecond}
}

// atReplica is a replica of the token server, at an exchange for a narrower token.
func (c *chaos) atReplica(i int) watched {
	x := obov1.NewExchangeServiceClient(dial(c.t, c.grpc[i]))
	return watched{fmt.Sprintf("replica %d", i), stsStale, func(ctx context.Context, token string) (verdict, error) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_, err := x.Exchange(basic(ctx, "acme.orchestrator", c.secrets["acme.orchestrator"]), &obov1.ExchangeRequest{
			SubjectToken: token, SubjectTokenType: typeAccessToken, Resource: []string{audience}, Scope: "tracker:issues:read",
		})
		return ofCode(err, codes.InvalidArgument)
	}, 20 * time.Millisecond}
}

// ofCode reads an answer. No answer in time is a refusal too.
func ofCode(err error, isRevoked codes.Code) (verdict, error) {
	switch status.Code(err) {
	case codes.OK:
		return accepted, nil
	case isRevoked:
		return revoked, nil
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
		return unavailable, nil
	}
	return "", err
}
