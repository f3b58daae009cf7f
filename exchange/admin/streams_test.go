package admin_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

const pollEndpoint = "https://idp.test/poll"

// TestSignalCredential: SS4b. A credential is stored sealed, for one endpoint of one stream of one org, and stands nowhere else; what
// is none is refused.
func TestSignalCredential(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	const canary = "canary-credential"
	put := func(stream string, secret telemetry.Secret, remove bool) error {
		_, err := s.PutSignalCredential(t.Context(), admin.PutSignalCredentialRequest{
			Org: "acme", Stream: stream, Credential: secret, Remove: remove,
		})
		return err
	}
	state := func(want, reason string) {
		t.Helper()
		list, err := s.ListSignalStreams(t.Context(), "acme")
		if err != nil || len(list) != 1 || list[0].State != want || !strings.Contains(list[0].Reason, reason) {
			t.Errorf("%+v, %v; want %s, %q", list, err, want, reason)
		}
	}
	w.Listen(t, nil)
	state("", "")
	if err := put(exchangetest.StreamName, canary, false); !errors.Is(err, admin.ErrInvalid) {
		t.Errorf("for a stream that is pushed: %v", err)
	}
	w.Listen(t, func(s *registry.SignalStream) { s.PollEndpoint = pollEndpoint })
	state(admin.StreamOff, "no credential")
	for _, secret := range []telemetry.Secret{"", "a b", "a\r\nX: y", "=", "a=b", "é", telemetry.Secret(strings.Repeat("x", 8<<10+1))} {
		if err := put(exchangetest.StreamName, secret, false); !errors.Is(err, admin.ErrInvalid) {
			t.Errorf("%d characters: %v", len(secret), err)
		}
	}
	if err := put("nothing", canary, false); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("no such stream: %v", err)
	}
	if err := put(exchangetest.StreamName, "", true); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("no such credential: %v", err)
	}
	if err := put(exchangetest.StreamName, canary+"==", false); err != nil {
		t.Fatal(err)
	}
	state(admin.StreamWaiting, "")
	own := w.Store.Org("acme")
	stored, err := own.SignalCredentials(t.Context())
	if err != nil || len(stored) != 1 || stored[0].Endpoint != pollEndpoint || bytes.Contains(stored[0].Sealed, []byte(canary)) {
		t.Fatalf("%+v, %v", stored, err)
	}
	for _, r := range w.Records(t, "acme") {
		if strings.Contains(r.Detail, canary) {
			t.Error("the trail holds the credential")
		}
	}

	now := w.Clock.Now()
	poll := store.SignalPoll{Stream: exchangetest.StreamName, Holder: "a", Until: now, Succeeded: now.Add(-time.Minute), Failed: now, Failure: "away"}
	if err := own.PutSignalPoll(t.Context(), poll, now); err != nil {
		t.Fatal(err)
	}
	state(admin.StreamFailing, "away")
	poll.Succeeded = now.Add(time.Second)
	if err := own.PutSignalPoll(t.Context(), poll, now); err != nil {
		t.Fatal(err)
	}
	state(admin.StreamPolled, "away")

	w.Listen(t, func(s *registry.SignalStream) { s.PollEndpoint = "https://evil.test/poll" })
	state(admin.StreamOff, "another endpoint")
	moved := stored[0]
	moved.Endpoint = "https://evil.test/poll" // whoever writes the store cannot move it either
	if err := own.PutSignalCredential(t.Context(), moved); err != nil {
		t.Fatal(err)
	}
	state(admin.StreamOff, "does not open")
	if err := put(exchangetest.StreamName, "", true); err != nil {
		t.Fatal(err)
	}
	state(admin.StreamOff, "no credential")
	if _, err := s.ListSignalStreams(t.Context(), "nobody"); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("no such org: %v", err)
	}

	cfg := w.Admin()
	cfg.Audit = noTrail{}
	broken, err := admin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	req := admin.PutSignalCredentialRequest{Org: "acme", Stream: exchangetest.StreamName, Credential: canary}
	if _, err := broken.As(operator()).PutSignalCredential(t.Context(), req); !errors.Is(err, errTrail) {
		t.Errorf("without a record: %v", err)
	}
	state(admin.StreamOff, "no credential")
}
