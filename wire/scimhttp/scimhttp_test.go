package scimhttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/scimhttp"
)

// served is acme's directory behind its door.
type served struct {
	*exchangetest.World
	door  http.Handler
	token telemetry.Secret
	log   *bytes.Buffer
}

// serve serves requests that come a second apart.
func serve(t testing.TB, change func(*admin.Config)) *served {
	t.Helper()
	var seconds atomic.Int64
	return serveAt(t, func() time.Time { return time.Unix(seconds.Add(1), 0) }, change)
}

func serveAt(t testing.TB, now func() time.Time, change func(*admin.Config)) *served {
	t.Helper()
	w := exchangetest.NewWorld(t)
	s := &served{World: w, token: w.Directory(t, "acme", nil), log: &bytes.Buffer{}}
	cfg := w.Admin()
	if change != nil {
		change(&cfg)
	}
	a, err := admin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.door, err = scimhttp.NewHandler(scimhttp.Config{
		Issuer: "https://sts.test/base", Directories: a, Log: slog.New(slog.NewTextHandler(s.log, nil)), Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request below the base URL, as acme's provider.
func (s *served) ask(t testing.TB, method, path, body string, change ...func(*http.Request)) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "https://sts.test/base/scim/v2"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+s.token.Reveal())
	if body != "" {
		r.Header.Set("Content-Type", "application/scim+json")
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	s.door.ServeHTTP(w, r)
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	out := map[string]any{}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
		if got := w.Header().Get("Content-Type"); got != "application/scim+json" {
			t.Errorf("Content-Type %q", got)
		}
	}
	return w.Code, out
}

func (s *served) create(t testing.TB, kind, body string) string {
	t.Helper()
	code, out := s.ask(t, "POST", kind, body)
	id, _ := out["id"].(string)
	if code != http.StatusCreated || id == "" {
		t.Fatalf("POST %s: %d %v", kind, code, out)
	}
	return id
}

func user(name string) string {
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"%s@acme.test","externalId":"%s","active":true,
		"name":{"givenName":"G","familyName":"F"},"emails":[{"value":"%s@acme.test","type":"work","primary":true}]}`, name, name, name)
}

func group(name string, members ...string) string {
	list := make([]string, len(members))
	for i, m := range members {
		list[i] = fmt.Sprintf(`{"value":%q}`, m)
	}
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":%q,"members":[%s]}`, name, strings.Join(list, ","))
}

func patch(operations string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":` + operations + `}`
}

// get reads a value by its path, such as "name.givenName" or "emails.0.value".
func get(v any, path string) any {
	for _, part := range strings.Split(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

// TestUsers: the life of a user (RFC 7644 §3.3 to §3.6).
func TestUsers(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	code, out := s.ask(t, "POST", "/Users", user("alice"))
	id, _ := out["id"].(string)
	if code != http.StatusCreated || get(out, "meta.location") != "https://sts.test/base/scim/v2/Users/"+id || get(out, "active") != true ||
		get(out, "meta.resourceType") != "User" || get(out, "externalId") != "alice" || get(out, "name.familyName") != "F" {
		t.Fatalf("%d %v", code, out)
	}
	if code, out := s.ask(t, "GET", "/Users/"+id, ""); code != http.StatusOK || get(out, "emails.0.value") != "alice@acme.test" {
		t.Errorf("%d %v", code, out)
	}
	for name, twin := range map[string]string{"name": strings.Replace(user("alice"), `"externalId":"alice"`, `"externalId":"x"`, 1),
		"case": strings.ToUpper(user("alice"))} {
		if name == "case" {
			twin = strings.Replace(user("alice"), `"userName":"alice`, `"userName":"ALICE`, 1)
		}
		if code, out := s.ask(t, "POST", "/Users", twin); code != http.StatusConflict || out["scimType"] != "uniqueness" {
			t.Errorf("%s: %d %v", name, code, out)
		}
	}
	replaced := strings.Replace(user("alice"), `"active":true,`, "", 1)
	if code, out := s.ask(t, "PUT", "/Users/"+id, replaced); code != http.StatusOK || get(out, "active") != true {
		t.Errorf("%d %v", code, out)
	}
	if code, out := s.ask(t, "PUT", "/Users/"+id, strings.Replace(user("alice"), "true,", "false,", 1)); code != http.StatusOK || get(out, "active") != false {
		t.Errorf("%d %v", code, out)
	}
	if code, out := s.ask(t, "PUT", "/Users/"+id, replaced); code != http.StatusOK || get(out, "active") != false {
		t.Errorf("a provider that leaves active out brought a user back: %d %v", code, out)
	}
	if code, _ := s.ask(t, "DELETE", "/Users/"+id, ""); code != http.StatusNoContent {
		t.Errorf("%d", code)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if code, out := s.ask(t, method, "/Users/"+id, ""); code != http.StatusNotFound || out["status"] != "404" {
			t.Errorf("%s: %d %v", method, code, out)
		}
	}
}

// TestWhatIsKept: what is not needed is taken without complaint, kept nowhere, and not given back.
func TestWhatIsKept(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const canary = "canary-7f3a"
	body := strings.Replace(user("alice"), `"active":true`, fmt.Sprintf(`"active":true,"password":%q,"phoneNumbers":[{"value":%q}],
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"employeeNumber":%q},"unheardOf":%q`, canary, canary, canary, canary), 1)
	id := s.create(t, "/Users", body)
	for _, operations := range []string{
		`[{"op":"add","path":"phoneNumbers[type eq \"work\"].value","value":"` + canary + `"}]`,
		`[{"op":"replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department","value":"` + canary + `"}]`,
		`[{"op":"replace","value":{"password":"` + canary + `"}}]`,
	} {
		if code, out := s.ask(t, "PATCH", "/Users/"+id, patch(operations)); code != http.StatusOK || out["id"] != id {
			t.Errorf("%s: %d %v", operations, code, out)
		}
	}
	users, _, err := s.Store.Org("acme").Users(t.Context(), store.UserQuery{Limit: 9})
	if err != nil || len(users) != 1 {
		t.Fatal(users, err)
	}
	_, out := s.ask(t, "GET", "/Users/"+id, "")
	trail := fmt.Sprint(s.Records(t, "acme"))
	for what, text := range map[string]string{"store": string(users[0].Document), "answer": fmt.Sprint(out), "log": s.log.String(), "trail": trail} {
		if strings.Contains(text, canary) {
			t.Errorf("the %s has it", what)
		}
	}
	for _, private := range []string{"alice@acme.test", "familyName", s.token.Reveal()} {
		if strings.Contains(trail, private) || strings.Contains(s.log.String(), private) {
			t.Errorf("the trail or the log has %s", private)
		}
	}
}

// TestPatchUser: RFC 7644 §3.5.2, and how Okta and Microsoft Entra speak it.
func TestPatchUser(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for name, c := range map[string]struct {
		operations string
		code       int
		path       string
		want       any
	}{
		"Okta deactivates":               {`[{"op":"replace","value":{"active":false}}]`, 200, "active", false},
		"Entra deactivates":              {`[{"op":"Replace","path":"active","value":"False"}]`, 200, "active", false},
		"Entra deactivates, flag on":     {`[{"op":"replace","path":"active","value":false}]`, 200, "active", false},
		"Entra without a path":           {`[{"op":"replace","value":{"active":"False","displayName":"A"}}]`, 200, "active", false},
		"a full name":                    {`[{"op":"replace","path":"urn:ietf:params:scim:schemas:core:2.0:User:active","value":false}]`, 200, "active", false},
		"names have no case":             {`[{"op":"REPLACE","path":"ACTIVE","value":false}]`, 200, "active", false},
		"under the schema":               {`[{"op":"replace","value":{"urn:ietf:params:scim:schemas:core:2.0:User":{"active":false}}}]`, 200, "active", false},
		"Okta sends the id":              {`[{"op":"replace","value":{"id":"x","displayName":"A"}}]`, 200, "displayName", "A"},
		"Entra's part of a name":         {`[{"op":"Add","path":"name.givenName","value":"Al"}]`, 200, "name.givenName", "Al"},
		"the other part stays":           {`[{"op":"Add","path":"name.givenName","value":"Al"}]`, 200, "name.familyName", "F"},
		"parts without a path":           {`[{"op":"replace","value":{"name.givenName":"Al"}}]`, 200, "name.givenName", "Al"},
		"name":                           {`[{"op":"replace","path":"name","value":{"givenName":"Al"}}]`, 200, "name.givenName", "Al"},
		"remove a part":                  {`[{"op":"remove","path":"name.givenName"}]`, 200, "name.givenName", nil},
		"remove":                         {`[{"op":"remove","path":"name"}]`, 200, "name", nil},
		"add an email":                   {`[{"op":"add","path":"emails","value":[{"value":"b@acme.test"}]}]`, 200, "emails.1.value", "b@acme.test"},
		"add it twice":                   {`[{"op":"add","path":"emails","value":[{"value":"b@acme.test"},{"value":"b@acme.test"}]}]`, 200, "emails.2", nil},
		"Entra's email":                  {`[{"op":"Replace","path":"emails[type eq \"work\"].value","value":"b@acme.test"}]`, 200, "emails.0.value", "b@acme.test"},
		"Entra's first email":            {`[{"op":"Add","path":"emails[type eq \"home\"].value","value":"b@acme.test"}]`, 200, "emails.1.type", "home"},
		"no such email":                  {`[{"op":"replace","path":"emails[type eq \"home\"].value","value":"b@acme.test"}]`, 400, "scimType", "noTarget"},
		"remove an email":                {`[{"op":"remove","path":"emails[type eq \"work\"]"}]`, 200, "emails", nil},
		"remove emails":                  {`[{"op":"remove","path":"emails"}]`, 200, "emails", nil},
		"in order":                       {`[{"op":"replace","path":"active","value":false},{"op":"replace","path":"active","value":true}]`, 200, "active", true},
		"externalId":                     {`[{"op":"replace","path":"externalId","value":"al"}]`, 200, "externalId", "al"},
		"userName stays":                 {`[{"op":"remove","path":"userName"}]`, 400, "scimType", "mutability"},
		"active stays":                   {`[{"op":"remove","path":"active"}]`, 400, "scimType", "mutability"},
		"active is a boolean":            {`[{"op":"replace","path":"active","value":"no"}]`, 400, "scimType", "invalidValue"},
		"active is not null":             {`[{"op":"replace","path":"active","value":null}]`, 400, "scimType", "invalidValue"},
		"a filter of what is one":        {`[{"op":"replace","path":"name[givenName eq \"G\"]","value":{"givenName":"x"}}]`, 400, "scimType", "invalidPath"},
		"an unknown operation":           {`[{"op":"move","path":"active","value":false}]`, 400, "scimType", "invalidValue"},
		"all or nothing":                 {`[{"op":"replace","path":"active","value":false},{"op":"remove","path":"userName"}]`, 400, "", nil},
		"no operation":                   {`[]`, 400, "scimType", "invalidValue"},
		"twice in one operation":         {`[{"op":"replace","Op":"remove","path":"active","value":false}]`, 400, "scimType", "invalidSyntax"},
		"an attribute twice":             {`[{"op":"replace","value":{"active":true,"active":false}}]`, 400, "scimType", "invalidSyntax"},
		"an attribute twice, other case": {`[{"op":"replace","value":{"active":true,"Active":false}}]`, 400, "scimType", "invalidSyntax"},
	} {
		id := s.create(t, "/Users", user(strings.ReplaceAll(strings.ToLower(name), " ", "-")))
		code, out := s.ask(t, "PATCH", "/Users/"+id, patch(c.operations))
		if code != c.code || c.path != "" && fmt.Sprint(get(out, c.path)) != fmt.Sprint(c.want) {
			t.Errorf("%s: %d %v", name, code, out)
		}
		if _, after := s.ask(t, "GET", "/Users/"+id, ""); code != http.StatusOK && get(after, "active") != true {
			t.Errorf("%s: half of it was done: %v", name, after)
		}
		s.ask(t, "DELETE", "/Users/"+id, "")
	}
}

// TestGroups: the life of a group, in both dialects.
func TestGroups(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	a, b := s.create(t, "/Users", user("a")), s.create(t, "/Users", user("b"))
	g := s.create(t, "/Groups", group("Engineering", a))
	members := func() []string {
		t.Helper()
		_, out := s.ask(t, "GET", "/Groups/"+g, "")
		var ids []string
		list, _ := out["members"].([]any)
		for _, m := range list {
			ids = append(ids, get(m, "value").(string))
		}
		return ids
	}
	both := slices.Sorted(slices.Values([]string{a, b}))
	for _, c := range []struct {
		operations string
		want       []string
	}{
		{`[{"op":"add","path":"members","value":[{"value":"` + b + `"}]}]`, both},
		{`[{"op":"add","path":"members","value":[{"value":"` + b + `"}]}]`, both},
		{`[{"op":"Remove","path":"members[value eq \"` + a + `\"]"}]`, []string{b}},
		{`[{"op":"Add","path":"members","value":[{"value":"` + a + `"}]}]`, both},
		{`[{"op":"Remove","path":"members","value":[{"value":"` + b + `"}]}]`, []string{a}},
		{`[{"op":"remove","path":"members","value":[]}]`, []string{a}}, // nobody named, nobody removed
		{`[{"op":"replace","path":"members","value":[{"value":"` + b + `"}]}]`, []string{b}},
		{`[{"op":"replace","value":{"members":[{"value":"` + a + `"},{"value":"` + b + `"}]}}]`, both},
		{`[{"op":"remove","path":"members"},{"op":"add","path":"members","value":[{"value":"` + a + `"}]}]`, []string{a}},
		{`[{"op":"add","path":"members","value":[{"value":"` + b + `"}]},{"op":"remove","path":"members[value eq \"` + b + `\"]"}]`, []string{a}},
		{`[{"op":"replace","value":{"id":"` + g + `","displayName":"Engineers"}}]`, []string{a}},
	} {
		if code, out := s.ask(t, "PATCH", "/Groups/"+g, patch(c.operations)); code != http.StatusNoContent {
			t.Errorf("%s: %d %v", c.operations, code, out)
		}
		if got := members(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.operations, got, c.want)
		}
	}
	for operations, kind := range map[string]string{
		`[{"op":"add","path":"members","value":[{"value":"nobody"}]}]`:                      "invalidValue",
		`[{"op":"add","path":"members","value":[{"value":"` + g + `","type":"Group"}]}]`:    "invalidValue",
		`[{"op":"remove","path":"members[display eq \"x\"]"}]`:                              "invalidPath",
		`[{"op":"replace","path":"members[value eq \"` + a + `\"]","value":{"value":"x"}}]`: "invalidPath",
		`[{"op":"remove","path":"displayName"}]`:                                            "mutability",
		`[{"op":"replace","path":"displayName","value":"équipe"}]`:                          "invalidValue",
	} {
		if code, out := s.ask(t, "PATCH", "/Groups/"+g, patch(operations)); code != http.StatusBadRequest || out["scimType"] != kind {
			t.Errorf("%s: %d %v", operations, code, out)
		}
	}
	if code, out := s.ask(t, "POST", "/Groups", group("engineers")); code != http.StatusConflict || out["scimType"] != "uniqueness" {
		t.Errorf("%d %v", code, out)
	}
	if code, _ := s.ask(t, "PUT", "/Groups/"+g, group("Engineers", b)); code != http.StatusOK || !slices.Equal(members(), []string{b}) {
		t.Errorf("%d %v", code, members())
	}
	if _, out := s.ask(t, "GET", "/Users/"+b, ""); get(out, "groups.0.display") != "Engineers" {
		t.Errorf("%v", out)
	}
	if _, out := s.ask(t, "GET", "/Groups/"+g+"?excludedAttributes=members", ""); out["members"] != nil || out["displayName"] != "Engineers" {
		t.Errorf("%v", out)
	}
	if code, _ := s.ask(t, "DELETE", "/Groups/"+g, ""); code != http.StatusNoContent {
		t.Errorf("%d", code)
	}
}

// TestLists: filters and pages (RFC 7644 §3.4.2).
func TestLists(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	ids := map[string]string{}
	for _, name := range []string{"a", "b", "c"} {
		ids[name] = s.create(t, "/Users", user(name))
	}
	eng, sales := s.create(t, "/Groups", group("Engineering", ids["a"])), s.create(t, "/Groups", group("Sales", ids["a"], ids["b"]))
	_ = sales
	for query, total := range map[string]int{
		"/Users": 3, `/Users?filter=userName eq "A@ACME.test"`: 1, `/Users?filter=externalId eq "b"`: 1, `/Users?filter=externalId eq "B"`: 0,
		`/Users?filter=emails.value eq "c@acme.test"`: 1, `/Users?filter=id eq "` + ids["a"] + `"`: 1,
		`/Users?filter=userName eq "a@acme.test" and externalId eq "b"`: 0, `/Users?filter=userName eq "a@acme.test" and externalId eq "a"`: 1,
		"/Groups": 2, `/Groups?filter=displayName eq "engineering"`: 1, `/Groups?filter=members eq "` + ids["a"] + `"`: 2,
		`/Groups?filter=id eq "` + eng + `" and members eq "` + ids["b"] + `"`: 0,
		`/Groups?filter=members.value eq "` + ids["b"] + `"`:                   1,
	} {
		path, filter, _ := strings.Cut(query, "?filter=")
		if filter != "" {
			path += "?filter=" + url.QueryEscape(filter)
		}
		if code, out := s.ask(t, "GET", path, ""); code != http.StatusOK || get(out, "totalResults") != float64(total) {
			t.Errorf("%s: %d %v", query, code, out)
		}
	}
	for _, filter := range []string{
		`userName sw "a"`, `userName eq "a" or userName eq "b"`, `not (userName eq "a")`, `active eq true`, `userName eq`, `name.givenName eq "G"`,
		`userName eq "a" and userName eq "b"`, strings.Repeat("(", 300) + `userName eq "a"` + strings.Repeat(")", 300),
	} {
		if code, out := s.ask(t, "GET", "/Users?filter="+url.QueryEscape(filter), ""); code != http.StatusBadRequest {
			t.Errorf("%.40s: %d %v", filter, code, out)
		}
	}
	seen := map[any]bool{}
	for start := 1; start <= 3; start++ {
		_, out := s.ask(t, "GET", fmt.Sprintf("/Users?startIndex=%d&count=1", start), "")
		seen[get(out, "Resources.0.id")] = true
	}
	if len(seen) != 3 {
		t.Errorf("pages: %v", seen)
	}
	if _, out := s.ask(t, "GET", "/Users?count=0", ""); get(out, "totalResults") != 3.0 || get(out, "Resources.0") != nil {
		t.Errorf("%v", out)
	}
	if _, out := s.ask(t, "GET", "/Users/"+ids["a"]+"?attributes=userName", ""); out["userName"] == nil || out["emails"] != nil || out["id"] == nil {
		t.Errorf("%v", out)
	}
}

// TestDoor: who gets in, and what is taken.
func TestDoor(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	theirs := s.Directory(t, "globex", nil)
	id := s.create(t, "/Users", user("alice"))
	for name, c := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		code               int
	}{
		"no token":         {"GET", "/Users", "", header("Authorization"), 401},
		"a wrong token":    {"GET", "/Users", "", header("Authorization", "Bearer acme.wrong"), 401},
		"no bearer":        {"GET", "/Users", "", header("Authorization", s.token.Reveal()), 401},
		"two":              {"GET", "/Users", "", header("Authorization", "Bearer "+s.token.Reveal(), "Bearer "+s.token.Reveal()), 401},
		"basic":            {"GET", "/Users", "", header("Authorization", "Basic "+s.token.Reveal()), 401},
		"the schema too":   {"GET", "/Schemas", "", header("Authorization"), 401},
		"another org":      {"GET", "/Users/" + id, "", header("Authorization", "Bearer "+theirs.Reveal()), 404},
		"config":           {"GET", "/ServiceProviderConfig", "", nil, 200},
		"schemas":          {"GET", "/Schemas", "", nil, 200},
		"types":            {"GET", "/ResourceTypes", "", nil, 200},
		"me":               {"GET", "/Me", "", nil, 501},
		"bulk":             {"POST", "/Bulk", "{}", nil, 404},
		"search":           {"POST", "/Users/.search", "{}", nil, 501},
		"elsewhere":        {"GET", "/Nothing", "", nil, 404},
		"no JSON":          {"POST", "/Users", "{", nil, 400},
		"a member twice":   {"POST", "/Users", strings.Replace(user("x"), `"active":true`, `"active":true,"active":false`, 1), nil, 400},
		"other case":       {"POST", "/Users", strings.Replace(user("x"), `"active":true`, `"active":true,"ACTIVE":false`, 1), nil, 400},
		"no schema":        {"POST", "/Users", `{"userName":"x"}`, nil, 400},
		"no name":          {"POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"]}`, nil, 400},
		"a form":           {"POST", "/Users", user("x"), header("Content-Type", "application/x-www-form-urlencoded"), 400},
		"plain JSON":       {"POST", "/Users", user("y"), header("Content-Type", "application/json; charset=utf-8"), 201},
		"compressed":       {"POST", "/Users", user("x"), header("Content-Encoding", "gzip"), 400},
		"too large":        {"POST", "/Users", strings.Repeat(" ", 1<<20) + user("x"), nil, 413},
		"deep":             {"POST", "/Users", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), nil, 400},
		"a long query":     {"GET", "/Users?x=" + strings.Repeat("x", 3000), "", nil, 400},
		"a large document": {"POST", "/Users", strings.Replace(user("x"), `"G"`, `"`+strings.Repeat("g", 9000)+`"`, 1), nil, 400},
	} {
		var change []func(*http.Request)
		if c.change != nil {
			change = append(change, c.change)
		}
		if code, out := s.ask(t, c.method, c.path, c.body, change...); code != c.code {
			t.Errorf("%s: %d %v, want %d", name, code, out, c.code)
		}
	}
}

// TestRate: one org cannot keep the server busy, and another does not notice.
func TestRate(t *testing.T) {
	t.Parallel()
	s := serveAt(t, func() time.Time { return time.Unix(1, 0) }, nil)
	theirs := s.Directory(t, "globex", nil)
	limited := false
	for range 200 {
		code, _ := s.ask(t, "GET", "/ServiceProviderConfig", "")
		limited = limited || code == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("200 requests at once were all taken")
	}
	if code, out := s.ask(t, "GET", "/Users", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+theirs.Reveal()) }); code != http.StatusOK {
		t.Errorf("globex: %d %v", code, out)
	}
}

// TestAway: what cannot be done now is a 503, says nothing of why, and changes nothing.
func TestAway(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *admin.Config) {
		whole := c.Directory
		c.Directory = func(id delegation.OrgID) admin.DirectoryStore { return failing{whole(id)} }
	})
	if code, out := s.ask(t, "POST", "/Users", user("alice")); code != http.StatusServiceUnavailable || strings.Contains(fmt.Sprint(out), "canary") {
		t.Errorf("%d %v", code, out)
	}
	if !strings.Contains(s.log.String(), "canary") {
		t.Error("the log does not say why")
	}
	if code, _ := s.ask(t, "GET", "/Users", ""); code != http.StatusOK {
		t.Errorf("%d", code)
	}
}

type failing struct{ admin.DirectoryStore }

func (failing) PutUser(context.Context, store.User, *store.Revocation) error {
	return errors.New("canary")
}
