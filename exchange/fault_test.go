package exchange_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
)

var errFault = errors.New("a fault of the test, with a secret in it")

// fault breaks one step: before it takes effect, or after it did.
type fault struct{ step, when string }

func (f fault) at(step, when string) bool { return f.step == step && f.when == when }

// run does the step f(), or fails before or after it.
func run[T any](f fault, step string, do func() (T, error)) (T, error) {
	var zero T
	if f.at(step, "before") {
		return zero, errFault
	}
	v, err := do()
	if err == nil && f.at(step, "after") {
		return zero, errFault
	}
	return v, err
}

func nothing(err error) (struct{}, error) { return struct{}{}, err }

type faultyDirectory struct {
	exchange.Directory
	f fault
}

func (d faultyDirectory) Org(ctx context.Context, id delegation.OrgID) (*registry.Org, error) {
	return run(d.f, "configuration", func() (*registry.Org, error) { return d.Directory.Org(ctx, id) })
}

type faultyTokens struct {
	exchange.Tokens
	f fault
}

func (v faultyTokens) Verify(ctx context.Context, token string) (delegation.Verified, error) {
	return run(v.f, "verification", func() (delegation.Verified, error) { return v.Tokens.Verify(ctx, token) })
}

type faultyAssertions struct {
	exchange.Assertions
	f fault
}

func (a faultyAssertions) Consume(ctx context.Context, key [32]byte, until time.Time) error {
	_, err := run(a.f, "single use", func() (struct{}, error) { return nothing(a.Assertions.Consume(ctx, key, until)) })
	return err
}

type faultyRevocations struct {
	delegation.Revocations
	f fault
}

func (r faultyRevocations) Check(c *delegation.Claims, now time.Time) error {
	_, err := run(r.f, "revocation", func() (struct{}, error) { return nothing(r.Revocations.Check(c, now)) })
	return err
}

type faultyTrail struct {
	exchange.Recorder
	f fault
}

func (l faultyTrail) Record(ctx context.Context, r audit.Record) error {
	_, err := run(l.f, "audit", func() (struct{}, error) { return nothing(l.Recorder.Record(ctx, r)) })
	return err
}

type faultySigner struct {
	exchange.Signer
	f      fault
	signed *[]string
}

func (s faultySigner) Sign(ctx context.Context, u delegation.Unsigned) (string, error) {
	return run(s.f, "signing", func() (string, error) {
		*s.signed = append(*s.signed, u.Claims().ID)
		return s.Signer.Sign(ctx, u)
	})
}

func broken(t *testing.T, w *exchangetest.World, f fault, signed *[]string) *exchange.Service {
	t.Helper()
	cfg := w.Config()
	assertions := cfg.Assertions
	cfg.Orgs, cfg.Tokens, cfg.Revocations = faultyDirectory{cfg.Orgs, f}, faultyTokens{cfg.Tokens, f}, faultyRevocations{cfg.Revocations, f}
	cfg.Assertions = func(id delegation.OrgID) exchange.Assertions { return faultyAssertions{assertions(id), f} }
	cfg.Audit, cfg.Signer = faultyTrail{cfg.Audit, f}, faultySigner{cfg.Signer, f, signed}
	s, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFaults is the fault table: whatever fails, before or after it took effect, there is no token without a durable record,
// no signature before the record, and no record that claims what did not happen.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"configuration", "verification", "single use", "revocation", "audit", "signing", "none"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+"/"+when, func(t *testing.T) {
				t.Parallel()
				w := exchangetest.NewWorld(t)
				var signed []string
				s := broken(t, w, fault{step, when}, &signed)
				req := w.HandOver(t, w.Token(t, w.Orchestrator, "github:read", nil), "github:read", w.Researcher)
				r, err := s.Exchange(t.Context(), w.Orchestrator.Credential(), req)
				if step == "none" {
					if err != nil {
						t.Fatal(err)
					}
				} else {
					e, ok := errors.AsType[*exchange.Error](err)
					if !ok || e.Reason != exchange.DependencyUnavailable || e.RetryAfter <= 0 || r.AccessToken != "" {
						t.Fatalf("got %v, %v", r, err)
					}
				}
				var approved []string
				for _, record := range w.Records(t, exchangetest.Acme) {
					if record.Kind != audit.KindExchange || record.Outcome != audit.OutcomeApproved {
						t.Errorf("a record of something else: %+v", record)
					}
					approved = append(approved, record.TokenID)
				}
				recorded := step == "none" || step == "signing" || step == "audit" && when == "after"
				if (len(approved) == 1) != recorded {
					t.Errorf("records of %q", approved)
				}
				if len(signed) > len(approved) || len(signed) == 1 && signed[0] != approved[0] {
					t.Errorf("signed %q, recorded %q", signed, approved)
				}
			})
		}
	}
}

// TestRefusalStandsWithoutTrail: a refusal that cannot be recorded is a refusal still, and names no action.
func TestRefusalStandsWithoutTrail(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	s := broken(t, w, fault{"audit", "before"}, new([]string))
	_, err := s.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop("x", "github:read"))
	e, ok := errors.AsType[*exchange.Error](err)
	if !ok || e.Reason != exchange.SubjectTokenInvalid || e.ActionID != "" {
		t.Fatalf("got %v", err)
	}
}

// TestGoneCallerGetsNoSignature: GR7. The caller goes away while the record is being written: the decision is on the trail,
// and nothing is signed.
func TestGoneCallerGetsNoSignature(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	cfg := w.Config()
	ctx, cancel := context.WithCancel(t.Context())
	var signed []string
	cfg.Audit = leaving{cfg.Audit, cancel}
	cfg.Signer = faultySigner{cfg.Signer, fault{}, &signed}
	s, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Exchange(ctx, w.Orchestrator.Credential(), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	if !errors.Is(err, context.Canceled) || len(signed) != 0 || len(w.Records(t, exchangetest.Acme)) != 1 {
		t.Fatalf("got %v, signed %q, %d records", err, signed, len(w.Records(t, exchangetest.Acme)))
	}
}

type leaving struct {
	exchange.Recorder
	leave func()
}

func (l leaving) Record(ctx context.Context, r audit.Record) error {
	err := l.Recorder.Record(ctx, r)
	l.leave()
	return err
}

// TestNoTokenWithoutRecordUnderFire: many callers while the trail fails at random, before and after writing. Every token that
// anybody got has its record.
func TestNoTokenWithoutRecordUnderFire(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	cfg := w.Config()
	cfg.Audit = flaky{cfg.Audit}
	s, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
	var mu sync.Mutex
	got := map[string]string{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				r, err := s.Exchange(t.Context(), w.Orchestrator.Credential(), req)
				if err == nil {
					mu.Lock()
					got[r.ActionID] = r.AccessToken
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	recorded := map[string]bool{}
	for _, r := range w.Records(t, exchangetest.Acme) {
		recorded[r.ActionID] = true
	}
	if len(got) == 0 || len(got) == 400 {
		t.Fatalf("%d of 400 exchanges succeeded: the faults were no test", len(got))
	}
	for id, token := range got {
		c := w.Claims(t, token)
		if !recorded[id] || id != c.Transaction+"."+c.ID {
			t.Errorf("a token without a record: %s", id)
		}
	}
}

type flaky struct{ exchange.Recorder }

func (l flaky) Record(ctx context.Context, r audit.Record) error {
	if rand.IntN(3) == 0 {
		return errFault
	}
	err := l.Recorder.Record(ctx, r)
	if err == nil && rand.IntN(3) == 0 {
		return errFault
	}
	return err
}
