package executor_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/storetest"
	"github.com/onbehalf/obo/vault"
)

var errFault = errors.New("a fault that the test made")

// nth fails the nth call of a method, before it takes effect or after.
func nth(method string, n int, after bool) storetest.Hook {
	seen := 0
	return func(c storetest.Call) storetest.Fault {
		if c.Method != method {
			return storetest.Fault{}
		}
		if seen++; seen != n {
			return storetest.Fault{}
		}
		if after {
			return storetest.Fault{After: errFault}
		}
		return storetest.Fault{Before: errFault}
	}
}

// TestFaults: each step fails, before it takes effect and after. There is no provider call and no use of a credential
// without a durable intent, no record of what did not happen, and no data without a durable outcome.
func TestFaults(t *testing.T) {
	t.Parallel()
	type expectation struct {
		reason  executor.Reason // of the *executor.Error; empty when a Response is wanted
		kind    connection.Kind // of the ToolError; empty when a Result is wanted
		calls   int
		intent  string // outcome of the durable intent record; empty for none
		outcome string // outcome of the durable outcome record; empty for none
	}
	refusedAsUnavailable := expectation{reason: executor.DependencyUnavailable, intent: audit.OutcomeRefused}
	for _, c := range []struct {
		name   string
		hook   storetest.Hook
		answer http.HandlerFunc
		want   expectation
	}{
		{"no fault", nil, nil, expectation{calls: 1, intent: audit.OutcomeApproved, outcome: audit.OutcomeSucceeded}},
		{"providers, before", nth("Providers", 1, false), nil, refusedAsUnavailable},
		{"providers, after", nth("Providers", 1, true), nil, refusedAsUnavailable},
		{"connections, before", nth("ConnectionsFor", 1, false), nil, refusedAsUnavailable},
		{"connections, after", nth("ConnectionsFor", 1, true), nil, refusedAsUnavailable},
		{"intent, before", nth("AppendAudit", 1, false), nil, expectation{reason: executor.DependencyUnavailable}},
		{"intent, after", nth("AppendAudit", 1, true), nil, expectation{reason: executor.DependencyUnavailable, intent: audit.OutcomeApproved}},
		{"credential, before", nth("DataKey", 1, false), nil, expectation{kind: connection.Unavailable, intent: audit.OutcomeApproved, outcome: audit.OutcomeFailed}},
		{"credential, after", nth("DataKey", 1, true), nil, expectation{kind: connection.Unavailable, intent: audit.OutcomeApproved, outcome: audit.OutcomeFailed}},
		{"call, before it took effect", nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
			expectation{kind: connection.Unavailable, calls: 1, intent: audit.OutcomeApproved, outcome: audit.OutcomeFailed}},
		{"call, after it took effect", nil, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			expectation{kind: connection.OutcomeUnknown, calls: 1, intent: audit.OutcomeApproved, outcome: audit.OutcomeUnknown}},
		{"outcome, before", nth("AppendAudit", 2, false), nil, expectation{kind: connection.OutcomeUnknown, calls: 1, intent: audit.OutcomeApproved}},
		{"outcome, after", nth("AppendAudit", 2, true), nil,
			expectation{kind: connection.OutcomeUnknown, calls: 1, intent: audit.OutcomeApproved, outcome: audit.OutcomeSucceeded}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if c.answer != nil {
				r.answers(c.answer)
			}
			r.faults(func(call storetest.Call) storetest.Fault {
				if call.Method == "DataKey" {
					r.wantIntent(t, "the credential")
				}
				if c.hook == nil {
					return storetest.Fault{}
				}
				return c.hook(call)
			})
			got, err := r.execute(t.Context(), r.token(t, "tracker:write"), executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
			var refused *executor.Error
			switch {
			case c.want.reason != "":
				if !errors.As(err, &refused) || refused.Reason != c.want.reason || refused.ActionID == "" {
					t.Errorf("%+v %v", got, err)
				}
			case err != nil:
				t.Error(err)
			case c.want.kind != "":
				if got.Error == nil || got.Error.Kind != c.want.kind || got.Result != nil {
					t.Errorf("%+v %+v", got, got.Error)
				}
			case got.Result == nil:
				t.Errorf("%+v %+v", got, got.Error)
			}
			if n := len(r.calls()); n != c.want.calls {
				t.Errorf("%d calls, want %d", n, c.want.calls)
			}
			found := map[string]string{}
			for _, rec := range r.trail(t, "acme") {
				found[rec.Kind] += rec.Outcome
			}
			if found[audit.KindIntent] != c.want.intent || found[audit.KindOutcome] != c.want.outcome {
				t.Errorf("records %v, want %q and %q", found, c.want.intent, c.want.outcome)
			}
		})
	}
}

// wantIntent fails the test unless a durable approved intent is there.
func (r *rig) wantIntent(t *testing.T, what string) {
	stored, err := r.db.Org("acme").AuditRecords(context.Background(), store.AuditQuery{Limit: 1000})
	if err != nil {
		t.Error(err)
	}
	for _, s := range stored {
		if rec, err := audit.Decode(s); err == nil && rec.Kind == audit.KindIntent && rec.Outcome == audit.OutcomeApproved {
			return
		}
	}
	t.Errorf("%s is touched without a durable intent", what)
}

// TestProviderIsCalledAfterTheIntent: when the request arrives, the intent is durable.
func TestProviderIsCalledAfterTheIntent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.answers(func(w http.ResponseWriter, _ *http.Request) {
		r.wantIntent(t, "the provider")
		fmt.Fprint(w, `{}`)
	})
	if got, err := r.execute(t.Context(), r.token(t, "tracker:write"), executor.Request{Tool: "tracker.create", Arguments: []byte(create)}); err != nil || got.Result == nil {
		t.Errorf("%+v %v", got, err)
	}
}

// TestCallerLeaves: GR7. A caller that leaves before the call keeps it from being made; one that leaves during it does not
// keep its outcome from being recorded, as unknown for a write.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	t.Run("before the credential", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		r.faults(func(c storetest.Call) storetest.Fault {
			if c.Method == "ConnectionsFor" {
				cancel()
			}
			return storetest.Fault{}
		})
		if _, err := r.execute(ctx, r.token(t, "tracker:write"), executor.Request{Tool: "tracker.create", Arguments: []byte(create)}); err == nil {
			t.Error("no error")
		}
		if n := len(r.calls()); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
	for tool, want := range map[string]string{"tracker.create": audit.OutcomeUnknown, "tracker.list": audit.OutcomeFailed} {
		t.Run("during "+tool, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			gone := make(chan struct{})
			t.Cleanup(func() { close(gone) })
			r.answers(func(_ http.ResponseWriter, req *http.Request) {
				cancel()
				<-req.Context().Done()
			})
			args := create
			if tool == "tracker.list" {
				args = `{"project":"apollo"}`
			}
			if _, err := r.execute(ctx, r.token(t, "tracker:read tracker:write"), executor.Request{Tool: tool, Arguments: []byte(args)}); err != nil {
				t.Error(err)
			}
			trail := r.trail(t, "acme")
			if len(trail) != 2 || trail[1].Outcome != want {
				t.Errorf("%+v", trail)
			}
		})
	}
}

// TestUnreachableProvider: nothing listens, so nothing was done, and the trail does not say otherwise.
func TestUnreachableProvider(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.setUp(t, "acme", fmt.Sprintf(record, "http://127.0.0.1:1"))
	got, err := r.execute(t.Context(), r.token(t, "tracker:write"), executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
	if err != nil || got.Error == nil || got.Error.Kind != connection.Unavailable || !got.Error.Retryable {
		t.Errorf("%+v %v", got.Error, err)
	}
	if trail := r.trail(t, "acme"); len(trail) != 2 || trail[1].Outcome != audit.OutcomeFailed {
		t.Errorf("%+v", trail)
	}
}

// TestAdminFaults: a change is on record before it is made, and its failure after.
func TestAdminFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		hook    storetest.Hook
		deleted bool
		records []string
	}{
		{"no fault", nil, true, []string{audit.OutcomeApproved}},
		{"record, before", nth("AppendAudit", 1, false), false, nil},
		{"record, after", nth("AppendAudit", 1, true), false, []string{audit.OutcomeApproved}},
		{"change, before", nth("DeleteConnection", 1, false), false, []string{audit.OutcomeApproved, audit.OutcomeUnknown}},
		{"change, after", nth("DeleteConnection", 1, true), true, []string{audit.OutcomeApproved, audit.OutcomeUnknown}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			before := len(admin(t, r))
			r.faults(c.hook)
			_, err := r.admin.DeleteConnection(t.Context(), executor.DeleteConnectionRequest{Org: "acme", Connection: "alice"})
			r.faults(nil)
			if (err == nil) != (c.hook == nil) {
				t.Errorf("got %v", err)
			}
			_, err = r.db.Org("acme").Connection(t.Context(), "alice")
			if errors.Is(err, store.ErrNotFound) != c.deleted {
				t.Errorf("deleted is %v, want %v", err, c.deleted)
			}
			if got := admin(t, r)[before:]; fmt.Sprint(got) != fmt.Sprint(c.records) {
				t.Errorf("records %v, want %v", got, c.records)
			}
		})
	}
}

// admin are the outcomes of acme's changes on record.
func admin(t *testing.T, r *rig) (out []string) {
	t.Helper()
	stored, err := r.db.Org("acme").AuditRecords(t.Context(), store.AuditQuery{Limit: 1000})
	must(t, err)
	for _, s := range stored {
		rec, err := audit.Decode(s)
		must(t, err)
		if rec.Kind == audit.KindAdmin {
			out = append(out, rec.Outcome)
		}
	}
	return out
}

// TestAdminRefusals: what is refused changes nothing and leaves no record of a change.
func TestAdminRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, recorded := t.Context(), len(admin(t, r))
	apply := func(req executor.ApplyProvidersRequest) error {
		req.Org = "acme"
		_, err := r.admin.ApplyProviders(ctx, req)
		return err
	}
	put := func(version int64, link connection.Link) error {
		_, err := r.admin.PutConnection(ctx, executor.PutConnectionRequest{Org: "acme", ExpectedVersion: &version, Link: link})
		return err
	}
	remove := func(id string, version *int64) error {
		_, err := r.admin.DeleteConnection(ctx, executor.DeleteConnectionRequest{Org: "acme", Connection: id, ExpectedVersion: version})
		return err
	}
	link := func(id string) connection.Link {
		return connection.Link{ID: id, Provider: "tracker", Pattern: connection.APIKey, Subject: "user:acme/okta|alice",
			Credential: vault.NewCredential("", []byte("another-secret"))}
	}
	two := int64(2)
	for name, c := range map[string]struct {
		do     func() error
		reason executor.Reason
	}{
		"another set of records":         {func() error { return apply(executor.ApplyProvidersRequest{ETag: connection.ETag(nil)}) }, executor.Conflict},
		"another version":                {func() error { return put(2, link("alice")) }, executor.Conflict},
		"one that is there":              {func() error { return put(0, link("alice")) }, executor.Conflict},
		"one that is not there":          {func() error { return put(1, link("nobody")) }, executor.Conflict},
		"another version, to delete":     {func() error { return remove("alice", &two) }, executor.Conflict},
		"nobody's connection":            {func() error { return remove("nobody", nil) }, executor.NotFound},
		"nobody's connection, a version": {func() error { return remove("nobody", &two) }, executor.NotFound},
		"no id of a connection":          {func() error { return remove("a\x00b", nil) }, executor.InvalidRequest},
		"org id":                         {func() error { _, err := r.admin.ListConnections(ctx, "ACME", "", 10); return err }, executor.InvalidRequest},
		"platform org":                   {func() error { _, err := r.admin.ShredOrg(ctx, string(store.PlatformOrg), false); return err }, executor.InvalidRequest},
		"bad record": {func() error {
			return apply(executor.ApplyProvidersRequest{Records: []store.ProviderRecord{{Name: "x", Text: []byte("x")}}})
		}, executor.InvalidRequest},
		"bad link": {func() error { return put(0, connection.Link{}) }, executor.InvalidRequest},
	} {
		var e *executor.Error
		if err := c.do(); !errors.As(err, &e) || e.Reason != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := put(1, link("alice")); err != nil {
		t.Errorf("the version that is there: %v", err)
	}
	if n := len(admin(t, r)); n != recorded+1 {
		t.Errorf("%d records, want %d: what is refused is no change", n, recorded+1)
	}
	got, err := r.admin.ApplyProviders(ctx, executor.ApplyProvidersRequest{Org: "acme", DryRun: true})
	if err != nil || len(got.Providers) != len(connection.Builtin()) || len(got.Changes) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	if records, _, err := r.admin.ProviderRecords(ctx, "acme"); err != nil || len(records) != 1 {
		t.Errorf("a dry run changed the records: %v %v", records, err)
	}
	if conns, err := r.admin.ListConnections(ctx, "globex", "", 10); err != nil || len(conns) != 2 {
		t.Errorf("%v %v", conns, err)
	}
}
