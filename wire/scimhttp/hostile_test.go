package scimhttp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/admin"

	"github.com/onbehalf/obo/wire/scimhttp"
)

// TestManyEmails: addresses are compared with each other, so that a megabyte of them would take a quarter of an hour.
func TestManyEmails(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	id := s.create(t, "/Users", user("alice"))
	list := make([]string, 20_000)
	for i := range list {
		list[i] = fmt.Sprintf(`{"value":"%d"}`, i)
	}
	emails := strings.Join(list, ",")
	start := time.Now()
	for name, c := range map[string]struct{ method, body string }{
		"add":     {"PATCH", patch(`[{"op":"add","path":"emails","value":[` + emails + `]}]`)},
		"remove":  {"PATCH", patch(`[{"op":"remove","path":"emails","value":[` + emails + `]}]`)},
		"replace": {"PATCH", patch(`[{"op":"replace","value":{"emails":[` + emails + `]}}]`)},
		"put":     {"PUT", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"a","emails":[` + emails + `]}`},
	} {
		if code, out := s.ask(t, c.method, "/Users/"+id, c.body); code != http.StatusBadRequest || out["scimType"] != "tooMany" {
			t.Errorf("%s: %d %v", name, code, out)
		}
	}
	if took := time.Since(start); took > 10*time.Second { // 280 s without the bound
		t.Errorf("it took %v", took)
	}
}

// TestMembersOfManyGroups: what an answer lists is bounded over all its groups.
func TestMembersOfManyGroups(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *admin.Config) {
		whole := c.Directory
		c.Directory = func(id delegation.OrgID) admin.DirectoryStore { return crowded{whole(id)} }
	})
	for _, name := range []string{"a", "b", "c"} {
		s.create(t, "/Groups?excludedAttributes=members", group(name))
	}
	if code, out := s.ask(t, "GET", "/Groups", ""); code != http.StatusBadRequest || out["scimType"] != "tooMany" {
		t.Errorf("%d %v", code, out["detail"])
	}
	for _, query := range []string{"?count=2", "?excludedAttributes=members"} {
		if code, out := s.ask(t, "GET", "/Groups"+query, ""); code != http.StatusOK || out["totalResults"] != 3.0 {
			t.Errorf("%s: %d %v", query, code, out["detail"])
		}
	}
}

// TestPutOfOkta: Okta's PUT has no externalId (its reference, "Update a specific User (PUT)"). Nobody becomes another subject
// by it, and nothing ends.
func TestPutOfOkta(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	id := s.create(t, "/Users", user("alice"))
	put := `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"` + id + `","userName":"alice@acme.test",
		"name":{"givenName":"Another","middleName":"","familyName":"User"},"active":true,"groups":[],"meta":{"resourceType":"User"},
		"emails":[{"primary":true,"value":"alice@acme.test","type":"work","display":"alice@acme.test"}]}`
	if code, out := s.ask(t, "PUT", "/Users/"+id, put); code != http.StatusOK || out["externalId"] != "alice" || get(out, "name.givenName") != "Another" {
		t.Errorf("%d %v", code, out)
	}
	if trail := fmt.Sprint(s.Records(t, "acme")); strings.Contains(trail, "revoke subject") {
		t.Error("a PUT without externalId ended what was delegated")
	}
	removed := patch(`[{"op":"remove","path":"externalId"}]`)
	if code, out := s.ask(t, "PATCH", "/Users/"+id, removed); code != http.StatusOK || out["externalId"] != nil {
		t.Errorf("%d %v", code, out)
	}
	g := s.create(t, "/Groups", strings.Replace(group("a"), `"displayName"`, `"externalId":"x","displayName"`, 1))
	if code, out := s.ask(t, "PUT", "/Groups/"+g, group("a")); code != http.StatusOK || out["externalId"] != "x" {
		t.Errorf("%d %v", code, out)
	}
}

// TestTexts: Microsoft Entra's booleans of addresses, and addresses that a store would choke on.
func TestTexts(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	primary := strings.Replace(user("alice"), `"primary":true`, `"primary":"True"`, 1)
	id := s.create(t, "/Users", primary)
	for _, c := range []struct {
		operations string
		code       int
	}{
		{`[{"op":"Replace","path":"emails[type eq \"work\"].primary","value":"False"}]`, 200},
		{`[{"op":"Replace","path":"emails","value":[{"value":"a@acme.test","primary":"True"}]}]`, 200},
		{`[{"op":"Replace","value":{"emails":[{"value":"b@acme.test","primary":"true"}]}}]`, 200},
		{`[{"op":"replace","path":"emails","value":[{"value":"a\u0000b"}]}]`, 400},
		{`[{"op":"replace","path":"emails","value":[{"value":"` + strings.Repeat("e", 5000) + `"}]}]`, 400},
		{`[{"op":"replace","path":"emails","value":[{"value":"c@acme.test","primary":"neither"}]}]`, 400},
		{`[{"op":"replace","path":"displayName","value":"True"},{"op":"replace","path":"active","value":"True"}]`, 200},
	} {
		if got, out := s.ask(t, "PATCH", "/Users/"+id, patch(c.operations)); got != c.code {
			t.Errorf("%.90s: %d %v", c.operations, got, out)
		}
	}
	if _, out := s.ask(t, "GET", "/Users/"+id, ""); out["displayName"] != "True" {
		t.Errorf("%v", out)
	}
}

// TestIssuerWithGroups: the path of the issuer says nothing of what a request is about.
func TestIssuerWithGroups(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	a, err := admin.New(s.Admin())
	if err != nil {
		t.Fatal(err)
	}
	door, err := scimhttp.NewHandler(scimhttp.Config{
		Issuer: "https://sts.test/Groups", Directories: a, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), "POST", "https://sts.test/Groups/scim/v2/Users", strings.NewReader(user("alice")))
	r.Header.Set("Authorization", "Bearer "+s.token.Reveal())
	r.Header.Set("Content-Type", "application/scim+json")
	w := httptest.NewRecorder()
	if door.ServeHTTP(w, r); w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"userName":"alice@acme.test"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestWithoutVersion: without v2 a group is a group all the same, whose members are not dropped.
func TestWithoutVersion(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	id := s.create(t, "/Users", user("alice"))
	unversioned := func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "/v2", "", 1) }
	if code, out := s.ask(t, "POST", "/Groups", group("all", id), unversioned); code != http.StatusCreated || get(out, "members.0.value") != id {
		t.Errorf("%d %v", code, out)
	}
}

// crowded has 5,000 users in each group.
type crowded struct{ admin.DirectoryStore }

func (crowded) Members(_ context.Context, _ string, limit int) ([]string, error) {
	return make([]string, min(limit, 5000)), nil
}
