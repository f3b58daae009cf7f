package executorgrpc_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/onbehalf/obo/audit"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/admintest"
)

// TestChanges: each method that changes something says beforehand what it would do, and is on the trail with what was and what is.
func TestChanges(t *testing.T) {
	t.Parallel()
	admintest.Suite{
		Service: obov1.File_obo_v1_admin_proto.Services().ByName("ExecutorAdminService"),
		Cases: map[string]func(t *testing.T) admintest.Case{
			"ApplyProviders": func(t *testing.T) admintest.Case {
				c, client := newCase(t)
				now, err := client.GetProviders(t.Context(), &obov1.GetProvidersRequest{OrgId: "acme"})
				must(t, err)
				files := []*obov1.ProviderFile{{Name: "notes.yaml", Text: notes}}
				c.Good = &obov1.ApplyProvidersRequest{OrgId: "acme", Providers: files, Etag: now.GetEtag()}
				c.Refused = &obov1.ApplyProvidersRequest{OrgId: "acme", Providers: files, Etag: "another"}
				return c
			},
			"PutConnection": func(t *testing.T) admintest.Case {
				c, _ := newCase(t)
				c.Good = aliceGitHub(1)
				c.Refused = aliceGitHub(2)
				return c
			},
			"PutWebhook": func(t *testing.T) admintest.Case {
				c, _ := newCase(t)
				secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(admintest.Canary+" and more"))
				c.Good = &obov1.PutWebhookRequest{OrgId: "acme", Url: "https://hooks.acme.example/obo", Secret: secret, ExpectedVersion: proto.Int64(0)}
				c.Refused = &obov1.PutWebhookRequest{OrgId: "acme", Url: "http://hooks.acme.example/obo", Secret: secret}
				return c
			},
			"DeleteWebhook": func(t *testing.T) admintest.Case {
				c, client := newCase(t)
				_, err := client.PutWebhook(t.Context(), &obov1.PutWebhookRequest{OrgId: "acme", Url: "https://hooks.acme.example"})
				must(t, err)
				c.Good = &obov1.DeleteWebhookRequest{OrgId: "acme", ExpectedVersion: proto.Int64(1)}
				c.Refused = &obov1.DeleteWebhookRequest{OrgId: "acme", ExpectedVersion: proto.Int64(2)}
				return c
			},
			"DeleteConnection": func(t *testing.T) admintest.Case {
				c, _ := newCase(t)
				c.Good = &obov1.DeleteConnectionRequest{OrgId: "acme", Connection: "alice", ExpectedVersion: proto.Int64(1)}
				c.Refused = &obov1.DeleteConnectionRequest{OrgId: "acme", Connection: "alice", ExpectedVersion: proto.Int64(2)}
				return c
			},
			"RotateDataKey": func(t *testing.T) admintest.Case {
				c, _ := newCase(t)
				c.Good, c.Refused = &obov1.RotateDataKeyRequest{OrgId: "acme"}, &obov1.RotateDataKeyRequest{OrgId: "_platform"}
				return c
			},
			"PutTheme": func(t *testing.T) admintest.Case {
				c, _ := newCase(t)
				c.Good = &obov1.PutThemeRequest{OrgId: "acme", Name: "Acme, Inc.", Accent: "#102030", ExpectedVersion: proto.Int64(0)}
				c.Refused = &obov1.PutThemeRequest{OrgId: "acme", Accent: "#ffff00"}
				return c
			},
			"PutClient": func(t *testing.T) admintest.Case {
				c, _ := newCase(t)
				c.Good, c.Refused = googleClient(0), googleClient(7)
				return c
			},
			"DeleteClient": func(t *testing.T) admintest.Case {
				c, client := newCase(t)
				_, err := client.PutClient(t.Context(), googleClient(0))
				must(t, err)
				c.Good = &obov1.DeleteClientRequest{OrgId: "acme", Name: "google", ExpectedVersion: proto.Int64(1)}
				c.Refused = &obov1.DeleteClientRequest{OrgId: "acme", Name: "google", ExpectedVersion: proto.Int64(2)}
				return c
			},
			"ShredOrg": func(t *testing.T) admintest.Case {
				c, _ := newCase(t)
				c.Good, c.Refused = &obov1.ShredOrgRequest{OrgId: "acme"}, &obov1.ShredOrgRequest{OrgId: "_platform"}
				return c
			},
		},
		Exempt: map[string]string{
			"TestWebhook":         "it changes nothing: it posts a test message, once",
			"AuthorizeConnection": "it asks a user, who may say no, and puts nothing into force",
		},
	}.Run(t)
}

// googleClient puts a client of acme's of which a version was seen.
func googleClient(version int64) *obov1.PutClientRequest {
	return &obov1.PutClientRequest{OrgId: "acme", Name: "google", ClientId: "123.apps", Secret: admintest.Canary, ExpectedVersion: &version}
}

// aliceGitHub puts a connection of alice's of which a version was seen.
func aliceGitHub(version int64) *obov1.PutConnectionRequest {
	return &obov1.PutConnectionRequest{OrgId: "acme", Connection: "alice", Provider: "github", Pattern: "api_key",
		Subject: "user:acme/okta|alice", Secret: admintest.Canary, ExpectedVersion: &version}
}

// newCase is an executor of its own whose acme has a connection, and no request.
func newCase(t *testing.T) (admintest.Case, obov1.ExecutorAdminServiceClient) {
	t.Helper()
	a, db, path := openAdmin(t)
	asOperator := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+operator)
	}
	conn := dial(t, &scripted{}, a, grpc.WithUnaryInterceptor(func(ctx context.Context, method string, in, out any, c *grpc.ClientConn,
		next grpc.UnaryInvoker, o ...grpc.CallOption) error {
		return next(asOperator(ctx), method, in, out, c, o...)
	}), grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, method string, next grpc.Streamer,
		o ...grpc.CallOption) (grpc.ClientStream, error) {
		return next(asOperator(ctx), d, c, method, o...)
	}))
	client := obov1.NewExecutorAdminServiceClient(conn)
	if _, err := client.PutConnection(t.Context(), aliceGitHub(0)); err != nil {
		t.Fatal(err)
	}
	return admintest.Case{
		Conn: conn,
		Stored: func(t *testing.T) (out []byte) { // the database's file, and the log of what is not in it yet
			for _, name := range []string{path, path + "-wal"} {
				data, err := os.ReadFile(name)
				must(t, err)
				out = append(out, data...)
			}
			return out
		},
		Records: func(t *testing.T) (out []audit.Record) {
			stored, err := db.Org("acme").AuditRecords(t.Context(), store.AuditQuery{Limit: 1000})
			must(t, err)
			for _, s := range stored {
				r, err := audit.Decode(s)
				must(t, err)
				out = append(out, r)
			}
			return out
		},
	}, client
}

// TestPages: connections page by page; a token is of its org.
func TestPages(t *testing.T) {
	t.Parallel()
	_, client := newCase(t)
	ctx := t.Context()
	for _, id := range []string{"bob", "a"} {
		put := aliceGitHub(0)
		put.Connection = id
		_, err := client.PutConnection(ctx, put)
		must(t, err)
	}
	var ids []string
	for token := ""; ; {
		page, err := client.ListConnections(ctx, &obov1.ListConnectionsRequest{OrgId: "acme", PageSize: 2, PageToken: token})
		must(t, err)
		for _, conn := range page.GetConnections() {
			ids = append(ids, conn.GetId())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
		_, err = client.ListConnections(ctx, &obov1.ListConnectionsRequest{OrgId: "globex", PageToken: token})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("another org took the token: %v", err)
		}
		_, err = client.DeleteConnection(ctx, &obov1.DeleteConnectionRequest{OrgId: "acme", Connection: "alice"}) // the last of the page
		must(t, err)
	}
	if len(ids) != 3 || ids[0] != "a" || ids[1] != "alice" || ids[2] != "bob" {
		t.Errorf("%q", ids)
	}
}

// TestVault: how the vault stands, and a rotation that tells of its progress, from the wire to the store and back.
func TestVault(t *testing.T) {
	t.Parallel()
	_, client := newCase(t)
	ctx := t.Context()
	for i := range 250 {
		put := aliceGitHub(0)
		put.Connection = fmt.Sprintf("c-%03d", i)
		_, err := client.PutConnection(ctx, put)
		must(t, err)
	}
	before, err := client.GetVault(ctx, &obov1.GetVaultRequest{OrgId: "acme"})
	must(t, err)
	if k := before.GetKeys(); len(k) != 1 || !k[0].GetSeals() || k[0].GetCredentials() != 251 || len(before.GetKeyEncryptionKey()) != 8 {
		t.Errorf("%v", before)
	}
	stream, err := client.RotateDataKey(ctx, &obov1.RotateDataKeyRequest{OrgId: "acme"})
	must(t, err)
	var told []string
	var last *obov1.RotateDataKeyResponse
	for {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		told, last = append(told, fmt.Sprint(got.GetDone(), "/", got.GetTotal())), got
	}
	if want := "0/251 100/251 200/251 251/251"; strings.Join(told, " ") != want || !last.GetComplete() || len(last.GetChanges()) != 1 {
		t.Errorf("told %q, want %q; %v", told, want, last)
	}
	after, err := client.GetVault(ctx, &obov1.GetVaultRequest{OrgId: "acme"})
	must(t, err)
	if k := after.GetKeys(); len(k) != 1 || k[0].GetId() == before.GetKeys()[0].GetId() || k[0].GetCredentials() != 251 {
		t.Errorf("%v", after)
	}
	none, err := client.GetVault(ctx, &obov1.GetVaultRequest{OrgId: "globex"})
	if err != nil || len(none.GetKeys()) != 0 || none.GetKeyEncryptionKey() != "" {
		t.Errorf("an org without a data key: %v %v", none, err)
	}
}

// TestWatchConnections: what is put and deleted comes over the wire, with the status before and after; a number that is no event's is
// refused as a mistake.
func TestWatchConnections(t *testing.T) {
	t.Parallel()
	_, client := newCase(t)
	watch := func(org string, after uint64) grpc.ServerStreamingClient[obov1.WatchConnectionsResponse] {
		stream, err := client.WatchConnections(t.Context(), &obov1.WatchConnectionsRequest{OrgId: org, After: &after})
		must(t, err)
		return stream
	}
	stream := watch("acme", 0)
	next := func() *obov1.ConnectionEvent {
		t.Helper()
		resp, err := stream.Recv()
		must(t, err)
		return resp.GetEvent()
	}
	if e := next(); e.GetSequence() != 1 || e.GetConnection() != "alice" || e.GetProvider() != "github" || e.GetOldStatus() != "" ||
		e.GetNewStatus() != "active" || e.GetSubject() != "user:acme/okta|alice" || e.GetTime().AsTime().IsZero() {
		t.Errorf("put: %v", e)
	}
	_, err := client.DeleteConnection(t.Context(), &obov1.DeleteConnectionRequest{OrgId: "acme", Connection: "alice"})
	must(t, err)
	if e := next(); e.GetSequence() != 2 || e.GetOldStatus() != "active" || e.GetNewStatus() != "" {
		t.Errorf("deleted: %v", e)
	}
	for org, want := range map[string]codes.Code{"globex": codes.InvalidArgument, "_platform": codes.InvalidArgument, "": codes.InvalidArgument} {
		if _, err := watch(org, 1).Recv(); status.Code(err) != want {
			t.Errorf("of %q after 1: %v", org, err)
		}
	}
}

// TestWebhooks: a secret that was made is shown once; a test message says what came of it, and is on the trail; what stands is seen.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	c, client := newCase(t)
	ctx := t.Context()
	if _, err := client.GetWebhook(ctx, &obov1.GetWebhookRequest{OrgId: "acme"}); status.Code(err) != codes.NotFound {
		t.Errorf("before it was put: %v", err)
	}
	var answer atomic.Int64
	answer.Store(http.StatusOK)
	in := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(answer.Load())) }))
	t.Cleanup(in.Close)
	put := &obov1.PutWebhookRequest{OrgId: "acme", Url: in.URL}
	made, err := client.PutWebhook(ctx, put)
	if err != nil || !strings.HasPrefix(made.GetSecret(), "whsec_") || made.GetWebhook().GetDelivered() != 1 || len(made.GetChanges()) != 1 {
		t.Fatalf("%v, %v", made, err)
	}
	put.DryRun = true
	if dry, err := client.PutWebhook(ctx, put); err != nil || dry.GetSecret() != "" || dry.GetWebhook().GetVersion() != 2 {
		t.Errorf("a dry run: %v, %v", dry, err)
	}
	got, err := client.GetWebhook(ctx, &obov1.GetWebhookRequest{OrgId: "acme"})
	if w := got.GetWebhook(); err != nil || w.GetStatus() != "active" || w.GetUrl() != in.URL || w.GetNewest() != 1 || w.GetNextAttempt() != nil ||
		strings.Contains(got.String(), made.GetSecret()) {
		t.Errorf("%v, %v", got, err)
	}
	for code, want := range map[int64]string{http.StatusOK: "", http.StatusForbidden: "it answers with HTTP status 403"} {
		answer.Store(code)
		if tried, err := client.TestWebhook(ctx, &obov1.TestWebhookRequest{OrgId: "acme"}); err != nil || tried.GetFailure() != want {
			t.Errorf("a test: %v, %v", tried, err)
		}
	}
	details := ""
	for _, r := range c.Records(t) {
		details += r.Detail + ";"
		if strings.Contains(fmt.Sprint(r), made.GetSecret()) {
			t.Errorf("the trail has the secret: %+v", r)
		}
	}
	if strings.Count(details, "test the webhook") != 2 || strings.Count(details, "put the webhook") != 1 {
		t.Errorf("on the trail: %s", details)
	}
	for _, bad := range []*obov1.PutWebhookRequest{
		{OrgId: "acme", Url: in.URL, Secret: "hunter2-hunter2"}, {OrgId: "acme", Url: "https://a:b@hooks.example"}, {OrgId: "_platform", Url: in.URL},
	} {
		if _, err := client.PutWebhook(ctx, bad); status.Code(err) != codes.InvalidArgument || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
