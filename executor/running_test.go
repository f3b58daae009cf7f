package executor_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/storetest"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/vault"
)

func alice(kind revocation.Kind, id string) store.Revocation {
	return revocation.New("acme", kind, id, "", time.Now(), time.Hour)
}

// TestRevokedWhileItRuns: a call to a provider that hangs ends when what it runs under is revoked, and not when the provider
// feels like it. What is on record says what is known: a write that was sent may have taken effect (EX4).
func TestRevokedWhileItRuns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, tool, args string
		key              [2]string // kind and id of what is revoked
		outcome, detail  string
		refused          bool // the caller's own token
		kind             connection.Kind
	}{
		{"the agent, during a write", "tracker.create", create, [2]string{string(revocation.Agent), "agent:acme/orchestrator"},
			audit.OutcomeUnknown, "it was sent", false, connection.OutcomeUnknown},
		{"the subject, during a read", "tracker.list", `{"project":"apollo"}`, [2]string{string(revocation.Subject), "user:acme/okta|alice"},
			audit.OutcomeFailed, "only reads", true, ""},
		{"the connection, during a write", "tracker.create", create, [2]string{string(revocation.Connection), "alice"},
			audit.OutcomeUnknown, "it was sent", false, connection.OutcomeUnknown},
		{"the connection, during a read", "tracker.list", `{"project":"apollo"}`, [2]string{string(revocation.Connection), "alice"},
			audit.OutcomeFailed, "only reads", false, connection.Revoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			arrived := make(chan struct{})
			r.answers(func(_ http.ResponseWriter, req *http.Request) {
				close(arrived)
				<-req.Context().Done() // it hangs
			})
			go func() {
				<-arrived
				other := alice(revocation.Agent, "agent:acme/somebody")
				r.set.Add(other)
				if n := r.service.Recheck(); n != 0 {
					t.Errorf("another's revocation stopped %d calls", n)
				}
				r.set.Add(alice(revocation.Kind(c.key[0]), c.key[1]))
				if n := r.service.Recheck(); n != 1 {
					t.Errorf("stopped %d calls", n)
				}
			}()
			got, err := r.execute(t.Context(), r.token(t, "tracker:read tracker:write"), executor.Request{Tool: c.tool, Arguments: []byte(c.args)})
			var refused *executor.Error
			switch {
			case c.refused:
				if !errors.As(err, &refused) || refused.Reason != executor.InvalidToken || refused.ActionID == "" {
					t.Errorf("%+v %v", got, err)
				}
			case err != nil || got.Error == nil || got.Error.Kind != c.kind || got.Error.Retryable || !strings.Contains(got.Error.Message, "revoked"):
				t.Errorf("%+v %v", got.Error, err)
			}
			trail := r.trail(t, "acme")
			if len(trail) != 2 || trail[1].Kind != audit.KindOutcome || trail[1].Outcome != c.outcome || trail[1].Reason != "revoked" ||
				!strings.Contains(trail[1].Detail, c.detail) {
				t.Errorf("on record: %+v", trail)
			}
			if n := r.service.Stopped(); n != 1 {
				t.Errorf("%d calls were ever stopped", n)
			}
		})
	}
}

// TestRevokedBeforeTheCredential: what is revoked after the call was admitted, and before its credential is borrowed, keeps it
// from being borrowed: whether the feed brings it before the intent is written or while the vault reads its key (EX4).
func TestRevokedBeforeTheCredential(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"AppendAudit", "DataKey"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.faults(func(call storetest.Call) storetest.Fault {
				if call.Method == at {
					r.set.Add(alice(revocation.Agent, "agent:acme/researcher"))
					r.service.Recheck()
				}
				return storetest.Fault{}
			})
			got, err := r.execute(t.Context(), r.token(t, "tracker:write"), executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
			var refused *executor.Error
			if !errors.As(err, &refused) || refused.Reason != executor.InvalidToken {
				t.Errorf("%+v %v", got, err)
			}
			if n := len(r.calls()); n != 0 {
				t.Errorf("%d calls reached the provider", n)
			}
			if trail := r.trail(t, "acme"); len(trail) != 2 || trail[1].Outcome != audit.OutcomeFailed || trail[1].Reason != "revoked" {
				t.Errorf("%+v", trail)
			}
		})
	}
}

// ended waits until a connection is marked, and reads it.
func (r *rig) ended(t *testing.T, org delegation.OrgID, id string) store.Connection {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := r.db.Org(org).Connection(t.Context(), id)
		must(t, err)
		if c.Status == connection.StatusRevoked {
			return c
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", c)
		}
	}
}

// TestEnder: a subject that leaves takes its connections along, and a connection that is revoked stays so after its entry is
// forgotten. Others' are not touched; a store that fails delays it; told again, nothing happens; a credential that was put
// later is another one.
func TestEnder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ender, err := executor.NewEnder(r.admin.Admin, telemetry.NewLogger(r.log, slog.LevelDebug, "json"))
	must(t, err)
	failing := true
	r.faults(func(call storetest.Call) storetest.Fault { // r.mu is held
		if call.Method == "PutConnection" && failing {
			failing = false
			return storetest.Fault{Before: errors.New("the store is away")}
		}
		return storetest.Fault{}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ender.Run(ctx) }()
	defer func() {
		cancel()
		must(t, <-done)
	}()
	left := alice(revocation.Subject, "user:acme/okta|alice")
	left.Departed = true
	ender.End([]store.Revocation{left})
	c := r.ended(t, "acme", "alice")
	if len(c.Sealed) != 0 || c.StatusReason != "its subject has left" {
		t.Errorf("%+v", c)
	}
	other := alice(revocation.Connection, "bob")
	other.Org = "globex"
	ender.End([]store.Revocation{left, other}) // again
	r.ended(t, "globex", "bob")
	if again, err := r.db.Org("acme").Connection(t.Context(), "alice"); err != nil || again.Version != c.Version {
		t.Errorf("%+v %v", again, err)
	}
	for org, id := range map[delegation.OrgID]string{"acme": "bob", "globex": "alice"} {
		if c, err := r.db.Org(org).Connection(t.Context(), id); err != nil || c.Status != connection.StatusActive {
			t.Errorf("%s's %s: %+v %v", org, id, c, err)
		}
	}
	got, err := r.execute(t.Context(), r.token(t, "tracker:write"), executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
	if err != nil || got.Error == nil || got.Error.Kind != connection.Revoked {
		t.Errorf("a call with it: %+v %v", got, err)
	}

	_, err = r.admin.PutConnection(t.Context(), executor.PutConnectionRequest{Org: "acme", Link: connection.Link{
		ID: "alice", Provider: "tracker", Pattern: connection.APIKey, Subject: "user:acme/okta|alice",
		Credential: vault.NewCredential("", []byte("another-secret")),
	}})
	must(t, err)
	old := left
	old.Before = time.Now().Add(-time.Hour)
	marker := alice(revocation.Connection, "alice")
	marker.Org = "globex"
	ender.End([]store.Revocation{old})
	ender.End([]store.Revocation{marker})
	r.ended(t, "globex", "alice") // by then the one before was carried out, or is due with it
	if c, err := r.db.Org("acme").Connection(t.Context(), "alice"); err != nil || c.Status != connection.StatusActive {
		t.Errorf("a newer credential: %+v %v", c, err)
	}
	stored, err := r.db.Org("acme").AuditRecords(t.Context(), store.AuditQuery{Limit: 1000})
	must(t, err)
	records := ""
	for _, s := range stored {
		rec, err := audit.Decode(s)
		must(t, err)
		records += rec.Outcome + " " + rec.Detail + "\n"
	}
	if strings.Count(records, audit.OutcomeApproved+" end connection") != 2 || strings.Count(records, audit.OutcomeUnknown+" end connection") != 1 {
		t.Errorf("on record:\n%s", records) // the first try, its failure, the second
	}
}
