package executor_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/vault"
)

// TestSharedSecret: a developer's secret serves users who have no connection of their own, and a 401 of it is the
// operator's matter, not the user's.
func TestSharedSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.admin.PutConnection(t.Context(), executor.PutConnectionRequest{Org: "acme", Link: connection.Link{
		ID: "shared", Provider: "tracker", Pattern: connection.DeveloperSecret, Credential: vault.NewCredential("", []byte(canary+"-shared")),
	}})
	must(t, err)
	carol := r.token(t, "tracker:write", func(c *delegation.Claims) { c.Subject = "user:acme/okta|carol" })
	call := func() executor.Response {
		t.Helper()
		got, err := r.execute(t.Context(), carol, executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
		must(t, err)
		return got
	}
	if got := call(); got.Result == nil || !strings.Contains(r.calls()[0], "Bearer "+canary+"-shared") {
		t.Errorf("%+v %q", got, r.calls())
	}
	for id, spent := range map[string]string{"": "-acme-alice", "alice": "-acme-alice", "shared": "-shared"} {
		before := len(r.calls())
		got, err := r.execute(t.Context(), r.token(t, "tracker:write"), executor.Request{Tool: "tracker.create", Arguments: []byte(create), Connection: id})
		if err != nil || got.Result == nil || !strings.Contains(r.calls()[before], canary+spent) {
			t.Errorf("alice, naming %q: %+v %v", id, got, err)
		}
	}
	r.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	if got := call(); got.Error == nil || got.Error.Kind != connection.OperatorConfig {
		t.Errorf("%+v", got.Error)
	}
}

// TestRefusedKey: a user whose own key the provider does not take is asked for another, by a link; and the call that says so is on record
// as sent and refused. The operator of the org cannot help, and another user's key is not touched.
func TestRefusedKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.admin.PutClient(t.Context(), executor.PutClientRequest{Org: "acme", Registration: connection.Registration{
		Name: "issuer/okta", ClientID: "pages", Settings: map[string]string{"issuer": "https://okta.example"},
	}})
	must(t, err)
	status := func(id string) string {
		c, err := r.db.Org("acme").Connection(t.Context(), id)
		must(t, err)
		return c.Status
	}
	r.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	call := func() executor.Response {
		t.Helper()
		got, err := r.execute(t.Context(), r.token(t, "tracker:write"), executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
		must(t, err)
		return got
	}
	for range 2 { // the second finds it noted already, and may still try
		got := call()
		if got.Error == nil || got.Error.Kind != connection.Revoked || !strings.HasPrefix(got.Error.ReconnectURL, "http://127.0.0.1/connect/acme.") {
			t.Errorf("%+v", got.Error)
		}
		records := r.trail(t, "acme")
		if last := records[len(records)-1]; last.Status != http.StatusUnauthorized || strings.Contains(last.Detail, "nothing was sent") {
			t.Errorf("on the trail: %d, %s", last.Status, last.Detail)
		}
	}
	if status("alice") != connection.StatusError || status("bob") != connection.StatusActive {
		t.Errorf("alice's is %s, bob's %s", status("alice"), status("bob"))
	}
	_, err = r.admin.PutConnection(t.Context(), executor.PutConnectionRequest{Org: "acme", Link: connection.Link{
		ID: "alice", Provider: "tracker", Pattern: connection.APIKey, Subject: "user:acme/okta|alice",
		Credential: vault.NewCredential("", []byte(canary+"-another")),
	}})
	must(t, err)
	r.answers(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"ok":true}`) })
	if got := call(); got.Result == nil || status("alice") != connection.StatusActive {
		t.Errorf("with another key: %+v, %s", got.Error, status("alice"))
	}
}
