package poller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/store"
)

// takeFor bounds the taking of all that one reply brought.
const takeFor = time.Minute

// releaseFor bounds the word that a stream is let go of.
const releaseFor = 2 * time.Second

// state is how the polling of a stream goes, as the store is told.
type state struct {
	mu                sync.Mutex
	succeeded, failed time.Time
	failure           string
}

// maxFailure is the most that is kept of why a poll failed.
const maxFailure = 512

func (s *state) succeed(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.succeeded = now
}

func (s *state) fail(now time.Time, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed, s.failure = now, strings.ToValidUTF8(why[:min(len(why), maxFailure)], "")
}

// stream polls a stream whenever no other replica does.
func (p *Poller) stream(ctx context.Context, t target) {
	s := &state{}
	for first := true; ; first = false {
		err := p.hold(ctx, t, s, holdFor)
		switch {
		case err == nil:
			p.held(ctx, t, s)
		case errors.Is(err, store.ErrConflict), ctx.Err() != nil:
		case first:
			p.cfg.Log.WarnContext(ctx, "cannot find out whether another replica polls a stream of security events", "org", string(t.org),
				"stream", t.stream, "error", err)
		}
		if !sleep(ctx, standby) {
			return
		}
	}
}

// hold says that this replica polls the stream, for so long, and how that goes.
func (p *Poller) hold(ctx context.Context, t target, s *state, d time.Duration) error {
	now := p.cfg.Now()
	s.mu.Lock()
	poll := store.SignalPoll{
		Stream: t.stream, Holder: p.holder, Until: now.Add(d), Succeeded: s.succeeded, Failed: s.failed, Failure: s.failure,
	}
	s.mu.Unlock()
	return p.cfg.Store(t.org).PutSignalPoll(ctx, poll, now)
}

// held polls until ctx ends or the stream is another's: when this replica was paused, or could not reach the store, in which case
// it could put nothing into force either.
func (p *Poller) held(ctx context.Context, t target, s *state) {
	p.cfg.Log.InfoContext(ctx, "polling a stream of security events", "org", string(t.org), "stream", t.stream)
	polling, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() {
		defer cancel()
		for sleep(polling, holdEvery) {
			if err := p.hold(polling, t, s, holdFor); err != nil && polling.Err() == nil {
				p.cfg.Log.WarnContext(ctx, "stopped polling a stream of security events", "org", string(t.org), "stream", t.stream, "error", err)
				return
			}
		}
	})
	var at signals.Polled
	for first := true; polling.Err() == nil; first = false {
		next, wait := p.poll(polling, t, s, at)
		if first || next.Failing() != at.Failing() {
			_ = p.hold(polling, t, s, holdFor) // the operator need not wait for the keeper to say so
		}
		at = next
		sleep(polling, wait)
	}
	cancel()
	keeper.Wait()
	last, done := context.WithTimeout(context.WithoutCancel(ctx), releaseFor)
	defer done()
	_ = p.hold(last, t, s, -time.Second) // if it is not heard, another waits for holdFor
}

// poll asks once, takes what comes, and says how the stream stands and how long to wait.
func (p *Poller) poll(ctx context.Context, t target, s *state, at signals.Polled) (signals.Polled, time.Duration) {
	asked := p.cfg.Now()
	reply, err := p.ask(ctx, t, at)
	if ctx.Err() != nil {
		return at, 0
	}
	if err != nil {
		next, wait := at.Failed(after(err))
		p.failed(ctx, t, s, err, wait)
		return next, wait
	}
	took := p.cfg.Now().Sub(asked)
	answers, err := p.take(ctx, t, s, reply)
	if ctx.Err() != nil {
		return at, 0
	}
	next, wait := at.Answered(answers, took)
	if err != nil {
		p.failed(ctx, t, s, fmt.Errorf("an event came and could not be put into force; it will come again: %w", err), wait)
		return next, wait
	}
	if at.Failing() {
		p.cfg.Log.InfoContext(ctx, "a stream of security events can be polled again", "org", string(t.org), "stream", t.stream)
	}
	s.succeed(p.cfg.Now())
	return next, wait
}

// take puts each SET into force. The error is of one that is to come again. One that is refused is the transmitter's to correct.
func (p *Poller) take(ctx context.Context, t target, s *state, reply signals.Reply) (answers []signals.Answer, missing error) {
	ctx, cancel := context.WithTimeout(ctx, takeFor)
	defer cancel()
	for _, set := range reply.Sets {
		err := set.Check()
		if err == nil {
			err = p.cfg.Take.TakeSignal(ctx, t.org, t.stream, set.Token)
		}
		refusal, refused := errors.AsType[*signals.Refusal](err)
		switch {
		case refused:
			s.fail(p.cfg.Now(), "an event was refused: "+refusal.Error())
		case err != nil:
			missing = err
		}
		answers = append(answers, signals.Answer{ID: set.ID, Err: err})
	}
	return answers, missing
}

func (p *Poller) failed(ctx context.Context, t target, s *state, err error, wait time.Duration) {
	s.fail(p.cfg.Now(), err.Error())
	p.cfg.Log.WarnContext(ctx, "a stream of security events cannot be polled", "org", string(t.org), "stream", t.stream, "error", err,
		"cause", errors.Unwrap(err), "again_in", wait.Round(time.Second).String())
}

// pollError is a poll that brought no reply, for operators.
type pollError struct {
	what  string
	after time.Duration // that the transmitter asked for
	cause error
}

func (e *pollError) Error() string { return e.what }
func (e *pollError) Unwrap() error { return e.cause }

func after(err error) time.Duration {
	e, _ := errors.AsType[*pollError](err)
	if e == nil {
		return 0
	}
	return e.after
}

// ask makes one request (RFC 8936 §2).
func (p *Poller) ask(ctx context.Context, t target, at signals.Polled) (signals.Reply, error) {
	body, err := at.Request()
	if err != nil {
		return signals.Reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.endpoint, bytes.NewReader(body))
	if err != nil {
		return signals.Reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+t.bearer.Reveal())
	res, err := p.client.Do(req)
	if err != nil {
		return signals.Reply{}, &pollError{"the transmitter cannot be reached, or does not answer: see the log for the cause, and check " +
			"poll_endpoint and the way there", 0, err}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return signals.Reply{}, refusedPoll(res)
	}
	if media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return signals.Reply{}, &pollError{"the transmitter's answer is not application/json: check poll_endpoint", 0, err}
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return signals.Reply{}, &pollError{"the transmitter's answer did not arrive whole, or is too large", 0, err}
	}
	reply, err := signals.ParseReply(data)
	if err != nil {
		return reply, &pollError{"the transmitter's answer is none of RFC 8936: tell the transmitter's operator", 0, err}
	}
	return reply, nil
}

// refusedPoll says what a status means. The body is the transmitter's text, and not repeated.
func refusedPoll(res *http.Response) error {
	advice := "tell the transmitter's operator"
	switch code := res.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		advice = "the transmitter refuses the credential: put a new one with `obo signals credential`"
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed:
		advice = "check poll_endpoint, and that the transmitter still has the stream"
	case code >= 300 && code < 400:
		advice = "a redirect is not followed: register where it leads as poll_endpoint"
	case code == http.StatusTooManyRequests || code >= 500:
		advice = "the transmitter has a problem, and is asked again"
	}
	e := &pollError{what: fmt.Sprintf("the transmitter answers with HTTP status %d: %s", res.StatusCode, advice)}
	if seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 16); err == nil {
		e.after = time.Duration(seconds) * time.Second
	}
	return e
}

// sleep waits for d and up to half as long again, so that not all replicas and streams come at once. It reports whether ctx still
// lives.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
