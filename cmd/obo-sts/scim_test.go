package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

// TestDirectory: an identity provider provisions alice and puts her out of action, at the running server.
func TestDirectory(t *testing.T) {
	t.Parallel()
	b := start(t)
	conn, p := b.dial(t), newIDP(t)
	operator := bearer(t.Context(), b.token(t, "admin.token"))
	secret := applyOrg(operator, t, conn, p)
	admin := obov1.NewAdminServiceClient(conn)
	org, err := admin.GetOrg(operator, &obov1.GetOrgRequest{OrgId: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := registry.Parse(org.GetDocument())
	if err != nil {
		t.Fatal(err)
	}
	doc.Directory = registry.Directory{Issuer: "okta"}
	changed, err := jose.Encode(doc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.ApplyOrg(operator, &obov1.ApplyOrgRequest{OrgId: "acme", Document: changed, ExpectedVersion: org.GetVersion()}); err != nil {
		t.Fatal(err)
	}
	scim, err := admin.RotateScimToken(operator, &obov1.RotateScimTokenRequest{OrgId: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, body string, want int) map[string]any {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, b.http+"/scim/v2"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+scim.GetToken())
		r.Header.Set("Content-Type", "application/scim+json")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		out := map[string]any{}
		_ = json.Unmarshal(text, &out)
		if res.StatusCode != want {
			t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
		}
		return out
	}
	login := func() (string, error) {
		out, err := obov1.NewExchangeServiceClient(conn).Exchange(basic(t.Context(), secret), &obov1.ExchangeRequest{
			SubjectToken: p.token(t, "alice"), SubjectTokenType: exchange.TypeIDToken, Resource: []string{executor}, Scope: "github:read",
		})
		return out.GetAccessToken(), err
	}
	if _, err := login(); status.Code(err) != codes.InvalidArgument {
		t.Fatalf("not provisioned: %v", err)
	}
	id, _ := ask("POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"alice@acme.test","externalId":"alice"}`,
		http.StatusCreated)["id"].(string)
	token, err := login()
	if err != nil {
		t.Fatal(err)
	}
	active := func() bool {
		out, err := obov1.NewExchangeServiceClient(conn).Introspect(basic(t.Context(), secret), &obov1.IntrospectRequest{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		return out.GetActive()
	}
	if !active() {
		t.Fatal("the token is dead before she left")
	}
	ask("PATCH", "/Users/"+id, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
		"Operations":[{"op":"Replace","path":"active","value":"False"}]}`, http.StatusOK)
	if active() {
		t.Error("she has left, and her agent's token is good")
	}
	if _, err := login(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("she has left, and logs in: %v", err)
	}
	if strings.Contains(b.text(), scim.GetToken()) {
		t.Error("the log has the token")
	}
}
