package connection

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/vault"
)

const canary = "canary+credential/7f3a9c=="

func request(t testing.TB, x Tool, args string) (*http.Request, error) {
	t.Helper()
	a, err := x.Arguments([]byte(args))
	if err != nil {
		return nil, err
	}
	return x.Request(t.Context(), a, "the-key")
}

func TestRequestIsBuiltFromArguments(t *testing.T) {
	t.Parallel()
	p := parse(t, good)
	r, err := request(t, tool(t, p, "notes.get"), `{"id":"a b+ü","tag":"x&y=z","labels":["a","b c"],"trace":"7"}`)
	if err != nil {
		t.Fatal(err)
	}
	want := "https://api.notes.example/v1/notes/a%20b%2B%C3%BC?fixed=a%20b&labels=a%2Cb%20c&tag=x%26y%3Dz"
	if r.Method != http.MethodGet || r.URL.String() != want || r.Header.Get("X-Trace") != "t-7" || r.Body != nil {
		t.Errorf("%s %s %v\nwant %s", r.Method, r.URL, r.Header, want)
	}
	r, err = request(t, tool(t, p, "notes.get"), `{"id":"1"}`)
	if err != nil || r.URL.RawQuery != "fixed=a%20b" || r.Header.Values("X-Trace") != nil {
		t.Errorf("absent arguments left a trace: %v %v %v", r.URL, r.Header, err)
	}
	r, err = request(t, tool(t, p, "notes.add"), `{"n":1e2,"text":"a\"</script>\u0007"}`)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(r.Body)
	wantBody := `{"k":1.5,"meta":{"list":[100,"x"],"n":100,"note":"by a\"</script>\u0007!"},"on":true,"text":"a\"</script>\u0007"}`
	if string(body) != wantBody || r.Header.Get("Idempotency-Key") != "the-key" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s\n%v\nwant %s", body, r.Header, wantBody)
	}
	r, err = request(t, tool(t, p, "notes.add"), `{"text":"a"}`)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(r.Body); string(body) != `{"k":1.5,"meta":{"list":["x"],"note":"by a!"},"on":true,"text":"a"}` {
		t.Errorf("%s", body)
	}
}

// TestGraphQL: the document goes as it is, and arguments only into the variables.
func TestGraphQL(t *testing.T) {
	t.Parallel()
	text := strings.Replace(good, `body: {text: "{text}", meta: {n: "{n}", note: "by {text}!", list: ["{n}", "x"]}, on: true, k: 1.5}`,
		"graphql: \"mutation($text: String!) { add(text: $text) { id } }\"\n    body: {text: \"{text}\", n: \"{n}\"}", 1)
	r, err := request(t, tool(t, parse(t, text), "notes.add"), `{"text":"\") { id } } mutation { drop"}`)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(r.Body)
	want := `{"query":"mutation($text: String!) { add(text: $text) { id } }","variables":{"text":"\") { id } } mutation { drop"}}`
	if string(body) != want {
		t.Errorf("%s\nwant %s", body, want)
	}
}

// TestArgumentsThatAreRefused: strict JSON, the schema, and what may not go where it goes. The error names the path and
// holds nothing of a value.
func TestArgumentsThatAreRefused(t *testing.T) {
	t.Parallel()
	p := parse(t, good)
	for _, c := range []struct{ name, tool, args, path string }{
		{"not JSON", "get", `{"id":`, ""},
		{"trailing", "get", `{"id":"1"} {}`, ""},
		{"no object", "get", `["id"]`, ""},
		{"twice", "get", `{"id":"1","id":"2"}`, ""},
		{"invalid UTF-8", "get", "{\"id\":\"\xff\"}", ""},
		{"lone surrogate", "get", `{"id":"\ud800"}`, ""},
		{"missing", "get", `{}`, ""},
		{"unknown", "get", `{"id":"1","owner":"SECRETVALUE"}`, ""},
		{"case", "get", `{"id":"1","ID":"2"}`, ""},
		{"type", "get", `{"id":1}`, "/id"},
		{"nested type", "get", `{"id":"1","labels":["a",{"b":"SECRETVALUE"}]}`, "/labels/1"},
		{"empty in the path", "get", `{"id":""}`, "/id"},
		{"slash in the path", "get", `{"id":"../admin/SECRETVALUE"}`, "/id"},
		{"dots", "get", `{"id":".."}`, "/id"},
		{"encoded dots", "get", `{"id":"%2e%2E"}`, "/id"},
		{"twice encoded slash", "get", `{"id":"a%252fb"}`, "/id"},
		{"backslash", "get", `{"id":"a\\b"}`, "/id"},
		{"matrix parameter", "get", `{"id":"a;admin=1"}`, "/id"},
		{"control", "get", `{"id":"a\u0000b"}`, "/id"},
		{"header injection", "get", `{"id":"1","trace":"a\r\nX-Admin: 1"}`, "/trace"},
		{"header unicode", "get", `{"id":"1","trace":"\u0130"}`, "/trace"},
		{"comma in a list", "get", `{"id":"1","labels":["a,b"]}`, "/labels"},
		{"too large", "add", `{"text":"a","n":1001}`, "/n"},
		{"huge exponent", "add", `{"text":"a","n":1e999999}`, ""},
		{"long number", "add", `{"text":"a","n":` + strings.Repeat("9", 100) + `}`, ""},
		{"too deep", "add", `{"text":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, ""},
		{"too many", "get", `{"id":"1","labels":[` + strings.Repeat(`"a",`, 2000) + `"a"]}`, ""},
		{"too long", "add", `{"text":"` + strings.Repeat("a", MaxArguments) + `"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := request(t, tool(t, p, "notes."+c.tool), c.args)
			var bad *ArgumentError
			if !errors.As(err, &bad) || bad.Path != c.path {
				t.Fatalf("got %#v, want an error at %q", err, c.path)
			}
			if strings.Contains(err.Error(), "SECRETVALUE") {
				t.Errorf("the error holds the value: %s", err)
			}
		})
	}
	if a, err := tool(t, p, "notes.get").Arguments([]byte(`{"id":"1"}`)); err != nil {
		t.Error(err)
	} else if _, err := tool(t, p, "notes.add").Request(t.Context(), a, ""); err == nil {
		t.Error("arguments of one tool were taken by another")
	}
	if _, err := parse(t, strings.Replace(good, "required: [text]", "required: []", 1)).tools[0].Arguments(nil); err != nil {
		t.Errorf("no arguments are not {}: %v", err)
	}
}

// TestArgumentsCannotLeaveTheirPlace: whatever the values, the request goes to the record's host, below its path, with as
// many segments, parameters and headers as its template has, and each value can be read back from where it went.
func TestArgumentsCannotLeaveTheirPlace(t *testing.T) {
	t.Parallel()
	get := tool(t, parse(t, good), "notes.get")
	rapid.Check(t, func(r *rapid.T) {
		nasty := rapid.OneOf(rapid.String(), rapid.StringMatching(`[./%25eE2Ff\\?#&=;:@\r\n ]{0,12}`))
		in := map[string]any{"id": nasty.Draw(r, "id"), "tag": nasty.Draw(r, "tag"), "trace": nasty.Draw(r, "trace")}
		text, err := json.Marshal(in)
		if err != nil {
			r.Skip()
		}
		a, err := get.Arguments(text)
		if err != nil {
			return
		}
		out, err := get.Request(context.Background(), a, "")
		if err != nil {
			var bad *ArgumentError
			if !errors.As(err, &bad) {
				r.Fatalf("another sort of error: %v", err)
			}
			return
		}
		// What a server sees is the text: parse it anew, as a server would.
		u, err := url.ParseRequestURI(out.URL.RequestURI())
		if err != nil || out.URL.Host != "api.notes.example" || out.Host != "api.notes.example" {
			r.Fatalf("%q: %v", out.URL, err)
		}
		segments := strings.Split(u.EscapedPath(), "/")
		if len(segments) != 4 || segments[1] != "v1" || segments[2] != "notes" {
			r.Fatalf("path %q", u.EscapedPath())
		}
		if got, err := url.PathUnescape(segments[3]); err != nil || got != in["id"] {
			r.Fatalf("id %q became %q", in["id"], got)
		}
		q := u.Query()
		if len(q) != 2 || q.Get("tag") != in["tag"] || q.Get("fixed") != "a b" {
			r.Fatalf("query %q", u.RawQuery)
		}
		if got := out.Header.Values("X-Trace"); len(got) != 1 || got[0] != "t-"+in["trace"].(string) || strings.ContainsAny(got[0], "\r\n") {
			r.Fatalf("header %q", got)
		}
	})
}

// TestPolicyAndProviderSeeTheSame: the canonical arguments are a fixed point, and whole numbers are in plain decimal.
func TestPolicyAndProviderSeeTheSame(t *testing.T) {
	t.Parallel()
	add := tool(t, parse(t, good), "notes.add")
	for in, want := range map[string]string{
		`{"text":"a","n":1e2}`:                 `{"n":100,"text":"a"}`,
		`{"n":100.0, "text":"\u0061"}`:         `{"n":100,"text":"a"}`,
		`{"n":-0,"text":"a"}`:                  `{"n":0,"text":"a"}`,
		` {"n" : 7 ,"text":"<>&"} `:            `{"n":7,"text":"<>&"}`,
		`{"text":"\ud83d\ude00","n":10000e-2}`: `{"n":100,"text":"😀"}`,
	} {
		a, err := add.Arguments([]byte(in))
		if err != nil || string(a.JSON()) != want {
			t.Errorf("%s became %s (%v), want %s", in, a.JSON(), err, want)
			continue
		}
		if b, err := add.Arguments(a.JSON()); err != nil || string(b.JSON()) != want {
			t.Errorf("%s is not a fixed point: %s %v", want, b.JSON(), err)
		}
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	p := parse(t, strings.Replace(good, "{style: bearer}", `{style: query, query: key, reason: "the provider has no other way"}`, 1))
	bearer := parse(t, good)
	fresh := func() *http.Request {
		r, err := request(t, tool(t, p, "notes.get"), `{"id":"1"}`)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, c := range []struct {
		name     string
		provider Provider
		pattern  Pattern
		cred     vault.Credential
		header   string
		want     string
	}{
		{"bearer", bearer, APIKey, vault.NewCredential("", []byte(canary)), "Authorization", "Bearer " + canary},
		{"header template", p, DeveloperSecret, vault.NewCredential("", []byte(canary)), "X-Api-Key", "Key " + canary},
		{"basic", p, Basic, vault.NewCredential("alice", []byte("ä:b")), "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:ä:b"))},
	} {
		r := fresh()
		if err := c.provider.Authorize(r, c.pattern, c.cred); err != nil || r.Header.Get(c.header) != c.want {
			t.Errorf("%s: %q, %v", c.name, r.Header.Get(c.header), err)
		}
	}
	r := fresh()
	if err := p.Authorize(r, APIKey, vault.NewCredential("", []byte(canary))); err != nil || r.URL.Query().Get("key") != canary || r.URL.Query().Get("fixed") != "a b" {
		t.Errorf("query: %v", err)
	}
	for name, do := range map[string]func() error{
		"line break": func() error { return bearer.Authorize(fresh(), APIKey, vault.NewCredential("", []byte("a\r\nX: y"))) },
		"colon":      func() error { return p.Authorize(fresh(), Basic, vault.NewCredential("a:b", []byte("x"))) },
		"pattern":    func() error { return p.Authorize(fresh(), "oauth", vault.NewCredential("", []byte("x"))) },
	} {
		if err := do(); !errors.Is(err, ErrCredential) || strings.Contains(err.Error(), "X: y") {
			t.Errorf("%s: %v", name, err)
		}
	}
	stray := fresh()
	stray.URL.Host = "evil.example"
	if err := p.Authorize(stray, APIKey, vault.NewCredential("", []byte(canary))); err == nil || stray.URL.Query().Get("key") != "" {
		t.Error("a credential was put on a request to another host")
	}
}

// TestScrub: a credential that comes back, as it is or encoded, does not reach the caller.
func TestScrub(t *testing.T) {
	t.Parallel()
	add := tool(t, parse(t, good), "notes.add")
	rapid.Check(t, func(r *rapid.T) {
		secret := rapid.StringMatching(`[A-Za-z0-9+/=_.~"\\<&é -]{8,40}`).Draw(r, "secret")
		prefix := rapid.StringMatching(`[a-z:]{0,7}`).Draw(r, "prefix")
		suffix := rapid.StringMatching(`[a-z]{0,7}`).Draw(r, "suffix")
		quoted, _ := json.Marshal(secret)
		forms := map[string]string{
			"plain": secret, "query": url.QueryEscape(secret), "path": url.PathEscape(secret), "hex": hex.EncodeToString([]byte(secret)),
			"HEX": fmt.Sprintf("%X", secret), "json": string(quoted[1 : len(quoted)-1]), "all": percentAll(secret, "%%%02x"),
			"base64": base64.StdEncoding.EncodeToString([]byte(secret)), "base64url": base64.RawURLEncoding.EncodeToString([]byte(secret)),
			"basic": base64.StdEncoding.EncodeToString([]byte(prefix + secret + suffix)), "mime": base64.URLEncoding.EncodeToString([]byte(prefix + secret + suffix)),
		}
		scrub := NewScrubber(vault.NewCredential("alice", []byte(secret)))
		for name, form := range forms {
			text := prefix + form + suffix
			body, err := json.Marshal(map[string]any{"echo": text, text: []any{"x", text}})
			if err != nil {
				r.Fatal(err)
			}
			out, err := add.Result(body, scrub)
			if err != nil {
				continue // refused whole, which is as good
			}
			got := string(out)
			if strings.Contains(got, form) || strings.Contains(got, secret) {
				r.Fatalf("%s came back in %s", name, got)
			}
			for _, word := range strings.FieldsFunc(got, func(c rune) bool { return strings.ContainsRune(`"{}[]:,`, c) }) {
				for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
					if plain, err := enc.DecodeString(word); err == nil && strings.Contains(string(plain), secret) {
						r.Fatalf("%s came back in %s", name, got)
					}
				}
			}
		}
	})
	scrub := NewScrubber(vault.NewCredential("", []byte("1234567890")))
	if out, err := add.Result([]byte(`{"n":91234567890}`), scrub); err != nil || strings.Contains(string(out), "1234567890") {
		t.Errorf("a credential of digits came back as a number: %s %v", out, err)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	p := parse(t, good)
	now := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		name    string
		tool    string
		status  int
		header  http.Header
		body    string
		pattern Pattern
		kind    Kind
		after   time.Duration
	}{
		{"fine", "get", 200, nil, `{"ok":true}`, APIKey, "", 0},
		{"created", "add", 201, nil, `{}`, APIKey, "", 0},
		{"200 with an error", "get", 200, nil, `{"ok":false}`, APIKey, Revoked, 0},
		{"401 of the user's key", "get", 401, nil, ``, APIKey, Revoked, 0},
		{"401 of the org's key", "get", 401, nil, ``, DeveloperSecret, OperatorConfig, 0},
		{"403", "get", 403, nil, ``, APIKey, Forbidden, 0},
		{"403 that means slow down", "get", 403, http.Header{"X-Left": {"0"}, "X-Reset": {"1000030"}}, ``, APIKey, RateLimited, 30 * time.Second},
		{"429 without a time", "add", 429, nil, ``, APIKey, RateLimited, 5 * time.Second},
		{"429 with seconds", "add", 429, http.Header{"Retry-After": {"120"}}, ``, APIKey, RateLimited, 2 * time.Minute},
		{"429 with a date", "add", 429, http.Header{"Retry-After": {now.Add(time.Hour).UTC().Format(http.TimeFormat)}}, ``, APIKey, RateLimited, time.Hour},
		{"429 for ever", "add", 429, http.Header{"Retry-After": {"999999999999"}}, ``, APIKey, RateLimited, maxRetryAfter},
		{"429 in the past", "add", 429, http.Header{"Retry-After": {"-7"}}, ``, APIKey, RateLimited, 5 * time.Second},
		{"404", "get", 404, nil, ``, APIKey, NotFound, 0},
		{"422", "add", 422, nil, ``, APIKey, BadRequest, 0},
		{"500 of a read", "get", 500, nil, ``, APIKey, Unavailable, 0},
		{"500 of a write", "add", 500, nil, ``, APIKey, OutcomeUnknown, 0},
		{"408 of a write", "add", 408, nil, ``, APIKey, OutcomeUnknown, 0},
		{"503 that the record explains", "add", 503, nil, ``, APIKey, Unavailable, 0},
		{"redirect of a read", "get", 302, nil, ``, APIKey, BadResponse, 0},
		{"redirect of a write", "add", 303, nil, ``, APIKey, OutcomeUnknown, 0},
	} {
		f, bad := tool(t, p, "notes."+c.tool).Classify(c.status, c.header, []byte(c.body), c.pattern, now)
		if bad != (c.kind != "") || f.Kind != c.kind || f.RetryAfter != c.after {
			t.Errorf("%s: %+v, want %s after %s", c.name, f, c.kind, c.after)
		}
	}
}

func TestResultMapping(t *testing.T) {
	t.Parallel()
	get := tool(t, parse(t, good), "notes.get")
	none := NewScrubber(vault.Credential{})
	for body, want := range map[string]string{
		`{"note":{"id":1,"author":{"name":"a"},"other":2}}`: `{"id":1,"who":"a"}`,
		`{"note":{"id":1}}`:                 `{"id":1}`,
		`{"note":{"author":{}}}`:            "",
		`{"other":1}`:                       "",
		`<html>`:                            "",
		``:                                  "",
		`{"note":{"id":1e9999999}}`:         "",
		`{"note":{"id":1},"note":{"id":2}}`: "",
	} {
		out, err := get.Result([]byte(body), none)
		if (err == nil) != (want != "") || string(out) != want {
			t.Errorf("%s became %s, %v", body, out, err)
		}
	}
	list := parse(t, strings.Replace(good, ", schema: {type: object, required: [id]}", "", 1))
	out, err := tool(t, list, "notes.get").Result([]byte(`{"note":[{"id":1},{"id":2,"author":{"name":"b"}}]}`), none)
	if err != nil || string(out) != `[{"id":1},{"id":2,"who":"b"}]` {
		t.Errorf("%s %v", out, err)
	}
	if _, err := tool(t, parse(t, good), "notes.add").Result([]byte(`"`+strings.Repeat("a", MaxResult)+`"`), none); err == nil {
		t.Error("a result longer than MaxResult")
	}
	if out, err := tool(t, parse(t, good), "notes.add").Result(nil, none); err != nil || string(out) != "null" {
		t.Errorf("no content: %s %v", out, err)
	}
}
