package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

// TestPolledStream: SS4b, SS7. On a running server: an org registers a stream, an administrator stores its credential, an event that
// waits at the transmitter is fetched without a restart, and the login that it ends begins nothing any more. The operator sees how it
// goes; the credential is in no log and no trail.
func TestPolledStream(t *testing.T) {
	t.Parallel()
	const credential = "canary-transmitter-credential"
	b, provider := start(t), newIDP(t)
	conn := b.dial(t)
	operator := bearer(t.Context(), b.token(t, adminFile))
	secret := applyOrg(operator, t, conn, provider)
	idToken := provider.token(t, "alice")
	exchangeGRPC(t, conn, secret, idToken)

	x := exchangetest.NewTransmitter(credential)
	polls := make(chan struct{}, 1000)
	x.Break = func(http.ResponseWriter, *http.Request) bool {
		polls <- struct{}{}
		return false
	}
	server := httptest.NewServer(x)
	t.Cleanup(server.Close)
	x.Queue(t, provider.event(t, "alice"))
	admin := obov1.NewAdminServiceClient(conn)
	got, err := admin.GetOrg(operator, &obov1.GetOrgRequest{OrgId: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := registry.Parse(got.GetDocument())
	if err != nil {
		t.Fatal(err)
	}
	doc.SignalStreams = []registry.SignalStream{{
		Name: "events", Issuer: "okta", Transmitter: provider.url, Audience: "obo-events", PollEndpoint: server.URL + "/poll",
		JWKS: jose.NewKeySet(provider.key.Key()).JSON(),
	}}
	changed, err := jose.Encode(doc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.ApplyOrg(operator, &obov1.ApplyOrgRequest{OrgId: "acme", Document: changed, ExpectedVersion: got.GetVersion()}); err != nil {
		t.Fatal(err)
	}
	list := func(want string) *obov1.SignalStream {
		t.Helper()
		out, err := admin.ListSignalStreams(operator, &obov1.ListSignalStreamsRequest{OrgId: "acme"})
		if err != nil || len(out.GetStreams()) != 1 || out.GetStreams()[0].GetState() != want {
			t.Fatalf("%v, %v; want %s", out, err, want)
		}
		return out.GetStreams()[0]
	}
	if s := list("off"); !strings.Contains(s.GetReason(), "credential") {
		t.Errorf("%v", s)
	}
	put := &obov1.PutSignalCredentialRequest{OrgId: "acme", Stream: "events", Credential: credential}
	if _, err := admin.PutSignalCredential(operator, put); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the event, and its acknowledgement
		select {
		case <-polls:
		case <-time.After(30 * time.Second):
			t.Fatalf("the stream is not polled: %s", b.text())
		}
	}
	if waiting, acked, _ := x.State(); waiting != 0 || len(acked) != 1 {
		t.Errorf("%d wait, acknowledged %v", waiting, acked)
	}
	_, err = obov1.NewExchangeServiceClient(conn).Exchange(basic(t.Context(), secret), &obov1.ExchangeRequest{
		SubjectToken: idToken, SubjectTokenType: exchange.TypeIDToken, Resource: []string{executor}, Scope: "github:read",
	})
	if status.Code(err) == codes.OK {
		t.Error("the login that was ended begins anew")
	}
	if s := list("polled"); s.GetSucceeded() == nil || s.GetCredential() == nil || s.GetFailed() != nil {
		t.Errorf("%v", s)
	}
	records, err := obov1.NewAuditServiceClient(conn).ListRecords(operator, &obov1.ListRecordsRequest{OrgId: "acme"})
	if err != nil || strings.Contains(records.String(), credential) {
		t.Errorf("the trail: %v, or the credential is in it", err)
	}
	if code := b.stop(t); code != 0 {
		t.Errorf("exit code %d with a held poll", code)
	}
	if strings.Contains(b.text(), credential) {
		t.Error("the log holds the credential")
	}
}

// event is a security event token: the user's sessions were ended now.
func (p idp) event(t testing.TB, user string) string {
	t.Helper()
	payload, err := json.Marshal(map[string]any{
		"iss": p.url, "aud": "obo-events", "iat": time.Now().Unix(), "jti": rand.Text(),
		"sub_id": map[string]any{"format": "iss_sub", "iss": p.url, "sub": user}, "events": map[string]any{exchangetest.SessionRevoked: map[string]any{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := p.key.Sign("secevent+jwt", payload)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
