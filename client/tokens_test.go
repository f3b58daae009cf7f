package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onbehalf/obo/client"
)

// slow is an answer that takes its time.
func slow(d time.Duration, answer func(int, seen) reply) func(int, seen) reply {
	return func(n int, s seen) reply {
		time.Sleep(d)
		return answer(n, s)
	}
}

func TestFiftyCallersShareOneExchange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sts{answer: slow(time.Second, issue(300))}
		c := newClient(t, s, nil)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if token, err := c.Token(t.Context(), request); err != nil || token.AccessToken != "opaque 1" {
					t.Errorf("%v, %v", token, err)
				}
			})
		}
		wg.Wait()
		if n := len(s.requests()); n != 1 {
			t.Errorf("%d exchanges", n)
		}
	})
}

func TestOneWaiterLeavesTheOthersStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sts{answer: slow(10*time.Second, issue(300))}
		c := newClient(t, s, nil)
		first, leave := context.WithCancel(t.Context())
		var left error
		var wg sync.WaitGroup
		begin := time.Now()
		wg.Go(func() { _, left = c.Token(first, request) }) // its call begins the exchange
		synctest.Wait()
		wg.Go(func() {
			if token, err := c.Token(t.Context(), request); err != nil || token.AccessToken != "opaque 1" {
				t.Errorf("%v, %v", token, err)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		if !errors.Is(left, context.Canceled) || time.Since(begin) != 0 {
			t.Errorf("%v after %v: who leaves does not wait", left, time.Since(begin))
		}
		wg.Wait()
		if n := len(s.requests()); n != 1 {
			t.Errorf("%d exchanges", n)
		}
	})
}

// canceller answers only when the request's context ends.
type canceller struct{ ended chan struct{} }

func (c canceller) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	close(c.ended)
	return nil, r.Context().Err()
}

func TestExchangeThatNobodyWaitsForEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hung := canceller{make(chan struct{})}
		c := newClient(t, &sts{}, func(c *client.Config) { c.HTTP = &http.Client{Transport: hung} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if _, err := c.Token(ctx, request); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		<-hung.ended
		if took := time.Since(begin); took != time.Second {
			t.Errorf("went on for %v", took)
		}
	})
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	t.Run("before expiry, in the background, once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &sts{answer: slow(time.Second, issue(300))}
			c := newClient(t, s, nil)
			mustGet(t, c, "opaque 1")
			time.Sleep(299*time.Second - 30*time.Second - 65*time.Second) // 70 % of the life is at 210 s
			mustGet(t, c, "opaque 1")
			synctest.Wait()
			if n := len(s.requests()); n != 1 {
				t.Fatalf("renewed before 70 %% of its life: %d exchanges", n)
			}
			time.Sleep(52 * time.Second) // past 85 %
			begin := time.Now()
			for range 20 {
				mustGet(t, c, "opaque 1")
			}
			if time.Since(begin) != 0 {
				t.Error("callers waited although the token was good")
			}
			time.Sleep(2 * time.Second)
			mustGet(t, c, "opaque 2")
			if n := len(s.requests()); n != 2 {
				t.Errorf("%d exchanges", n)
			}
		})
	})
	t.Run("a token about to expire is not handed out", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, &sts{answer: issue(300)}, nil)
			mustGet(t, c, "opaque 1")
			time.Sleep(271 * time.Second)
			mustGet(t, c, "opaque 2")
		})
	})
	t.Run("the time that the answer took is not counted as life", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, &sts{answer: slow(20*time.Second, issue(10))}, nil)
			mustGet(t, c, "opaque 1")
			mustGet(t, c, "opaque 2")
		})
	})
	t.Run("not everybody at the same moment", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &sts{answer: issue(1000)}
			c := newClient(t, s, nil)
			for n := range 100 {
				get(t, c, numbered(n))
			}
			time.Sleep(775 * time.Second) // the middle of 70 to 85 %
			for n := range 100 {
				get(t, c, numbered(n))
			}
			synctest.Wait()
			if n := len(s.requests()) - 100; n < 20 || n > 80 {
				t.Errorf("%d of 100 renewed in the middle of the window", n)
			}
		})
	})
}

func numbered(n int) client.Request {
	r := request
	r.Scope = fmt.Sprint("scope:", n)
	return r
}

func get(t *testing.T, c *client.Client, r client.Request) string {
	t.Helper()
	token, err := c.Token(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

func mustGet(t *testing.T, c *client.Client, want string) {
	t.Helper()
	if got := get(t, c, request); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestServerThatIsAway(t *testing.T) {
	t.Parallel()
	away := func(after int) func(int, seen) reply {
		return func(n int, s seen) reply {
			if n > after {
				return refuse(http.StatusServiceUnavailable, "temporarily_unavailable")
			}
			return issue(300)(n, s)
		}
	}
	t.Run("a good token serves on, and nothing serves after its expiry", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &sts{answer: away(1)}
			c := newClient(t, s, nil)
			mustGet(t, c, "opaque 1")
			time.Sleep(260 * time.Second)
			for range 50 {
				mustGet(t, c, "opaque 1")
				synctest.Wait()
			}
			if n := len(s.requests()); n != 2 {
				t.Errorf("%d requests: the server was not left alone", n)
			}
			time.Sleep(10 * time.Second)
			_, err := c.Token(t.Context(), request)
			var e *client.Error
			if !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("TE15 Retry-After is kept to by all callers", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &sts{answer: func(n int, v seen) reply {
				if n == 1 {
					r := refuse(http.StatusTooManyRequests, "temporarily_unavailable")
					r.header = http.Header{"Retry-After": {"5"}}
					return r
				}
				return issue(300)(n, v)
			}}
			c := newClient(t, s, nil)
			for range 10 {
				if _, err := c.Token(t.Context(), request); err == nil {
					t.Fatal("no error")
				}
			}
			if n := len(s.requests()); n != 1 {
				t.Errorf("asked %d times", n)
			}
			time.Sleep(5 * time.Second)
			mustGet(t, c, "opaque 2")
		})
	})
	t.Run("a refusal is not kept", func(t *testing.T) {
		t.Parallel()
		s := &sts{answer: func(n int, v seen) reply {
			if n == 1 {
				return refuse(http.StatusBadRequest, "invalid_request")
			}
			return issue(300)(n, v)
		}}
		c := newClient(t, s, nil)
		if _, err := c.Token(t.Context(), request); err == nil {
			t.Fatal("no error")
		}
		mustGet(t, c, "opaque 2")
	})
}

// TestRequestsThatDiffer never share a token: the key of a kept token is the whole request.
func TestRequestsThatDiffer(t *testing.T) {
	t.Parallel()
	source := func() client.Source {
		return client.SourceFunc(func(context.Context) (string, error) { return "same", nil })
	}
	c := newClient(t, &sts{answer: issue(300)}, nil)
	tokens := map[string]string{}
	for name, edit := range map[string]func(*client.Request){
		"the first":       func(*client.Request) {},
		"grant":           func(r *client.Request) { r.Grant = client.GrantJWTBearer },
		"subject":         func(r *client.Request) { r.Subject = client.Static("id-token2") },
		"subject type":    func(r *client.Request) { r.SubjectType = client.TypeJWT },
		"actor":           func(r *client.Request) { r.Actor = client.Static("x") },
		"another actor":   func(r *client.Request) { r.Actor = source() },
		"yet another":     func(r *client.Request) { r.Actor = source() },
		"assertion":       func(r *client.Request) { r.Assertion = client.Static("x") },
		"two resources":   func(r *client.Request) { r.Resource = []string{"https://executor", ".example"} },
		"an audience":     func(r *client.Request) { r.Resource, r.Audience = nil, []string{"https://executor.example"} },
		"scope":           func(r *client.Request) { r.Scope = "a" },
		"requested type":  func(r *client.Request) { r.RequestedType = client.TypeJWT },
		"details":         func(r *client.Request) { r.AuthorizationDetails = "[]" },
		"life":            func(r *client.Request) { r.Life = time.Second },
		"may act":         func(r *client.Request) { r.MayAct = "x" },
		"request context": func(r *client.Request) { r.RequestContext = "x" },
		"request details": func(r *client.Request) { r.RequestDetails = "x" },
	} {
		r := request
		edit(&r)
		token := get(t, c, r)
		if other, ok := tokens[token]; ok {
			t.Errorf("%q and %q share a token", name, other)
		}
		tokens[token] = name
		if again := get(t, c, r); again != token {
			t.Errorf("%q is not kept", name)
		}
	}
	r := request
	r.Actor = uncomparable{}
	if _, err := c.Token(t.Context(), r); err == nil {
		t.Error("a source that cannot be compared was taken")
	}
}

type uncomparable struct{ _ []int }

func (uncomparable) Token(context.Context) (string, error) { return "x", nil }

func TestKeptTokensAreBounded(t *testing.T) {
	t.Parallel()
	s := &sts{answer: issue(300)}
	c := newClient(t, s, func(c *client.Config) { c.MaxTokens = 3 })
	for n := range 3 {
		get(t, c, numbered(n))
	}
	oldest := get(t, c, numbered(0)) // used again: 1 is now the longest unused
	get(t, c, numbered(3))
	if get(t, c, numbered(0)) != oldest || len(s.requests()) != 4 {
		t.Error("the one used last was dropped")
	}
	get(t, c, numbered(1))
	if n := len(s.requests()); n != 5 {
		t.Errorf("%d exchanges: the one longest unused was kept beyond the bound", n)
	}
}

func TestTokenSource(t *testing.T) {
	t.Parallel()
	c := newClient(t, &sts{answer: issue(300)}, nil)
	token, err := c.TokenSource(t.Context(), request).Token()
	if err != nil || token.AccessToken != "opaque 1" || !token.Valid() || token.Extra("scope") != "a b" {
		t.Errorf("%v %v", token, err)
	}
	bound := newClient(t, &sts{answer: issue(300)}, func(c *client.Config) { c.DPoP = prover{} })
	if _, err := bound.TokenSource(t.Context(), request).Token(); err == nil {
		t.Error("DP5 a bound token was given to somebody who sends no proofs")
	}
}

func TestNextHopFollowsTheFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sts{answer: issue(300)}
		c := newClient(t, s, nil)
		next := client.Request{Subject: c.AccessToken(request), SubjectType: client.TypeAccessToken, Scope: "a"}
		get(t, c, next)
		if got := s.requests()[1].form.Get("subject_token"); got != "opaque 1" {
			t.Errorf("subject token %q", got)
		}
		time.Sleep(300 * time.Second)
		get(t, c, next)
		if got := s.requests()[3].form.Get("subject_token"); got != "opaque 3" {
			t.Errorf("subject token %q after renewal", got)
		}
	})
}

// TestSourceKnowsNoCaller: a kept token is for every caller of the same request, so a source that would give the token of whoever
// calls is found at the first call, and never hands one user's token to another.
func TestSourceKnowsNoCaller(t *testing.T) {
	t.Parallel()
	type user struct{}
	s := &sts{answer: issue(300)}
	c := newClient(t, s, nil)
	r := request
	r.Subject = client.SourceFunc(func(ctx context.Context) (string, error) {
		name, ok := ctx.Value(user{}).(string)
		if !ok {
			return "", errors.New("nobody calls")
		}
		return name, nil
	})
	for _, name := range []string{"alice", "bob"} {
		if token, err := c.Token(context.WithValue(t.Context(), user{}, name), r); err == nil {
			t.Errorf("%s got %q", name, token.AccessToken)
		}
	}
	for _, name := range []string{"alice", "bob"} { // nothing is kept of Exchange, so nothing is shared
		if _, err := c.Exchange(context.WithValue(t.Context(), user{}, name), r); err != nil {
			t.Error(err)
		}
	}
	if n := len(s.requests()); n != 2 {
		t.Errorf("%d exchanges", n)
	}
}
