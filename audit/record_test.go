package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/store"
)

func full() Record {
	return Record{
		ActionID: "txn1.jti1", Kind: KindExchange, Outcome: OutcomeApproved, Reason: "", Org: "acme",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Transaction: "txn1", TokenID: "jti1", Subject: "user:acme/okta|00u1",
		Chain: []string{"agent:acme/researcher", "agent:acme/orchestrator"}, Lineage: []string{"jti0"}, ClientID: "acme.researcher",
		Resource: "https://executor.example", ScopeAsked: []string{"a", "b"}, ScopeGranted: []string{"a"}, PolicyVersion: "3",
		PolicyIDs: []string{"org/p1"}, TraceID: strings.Repeat("a", 32), Connection: "c1", Status: 200, Detail: "naïve but fine",
		Expiry: time.Date(2026, 1, 2, 3, 9, 5, 0, time.UTC), Began: time.Date(2026, 1, 2, 2, 0, 0, 0, time.UTC), Session: "séance",
		Administrator: "user:okta|ann", Role: "auditor", Changes: []Change{{Path: "agents/researcher", Before: "1", After: "2"}},
		Authentication: &Authentication{Issuer: "https://okta.example", ACR: "urn:mfa", AMR: []string{"pwd", "otp"},
			AuthTime: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)},
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	want := full()
	stored, err := want.encode()
	if err != nil {
		t.Fatal(err)
	}
	stored.Sequence, want.Sequence = 7, 7
	got, err := Decode(stored)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if stored.Org != "acme" || stored.ActionID != "txn1.jti1" || stored.Transaction != "txn1" || !stored.Time.Equal(want.Time) {
		t.Errorf("columns %+v", stored)
	}
}

// TestEveryFieldTravels fails when a field is added that the test's record does not set.
func TestEveryFieldTravels(t *testing.T) {
	t.Parallel()
	v := reflect.ValueOf(full())
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Sequence" && name != "Reason" {
			t.Errorf("the full record does not set %s", name)
		}
	}
}

// TestGolden fixes the shape of a stored record: what is in a trail today must be readable for ever.
func TestGolden(t *testing.T) {
	t.Parallel()
	stored, err := full().encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"action_id":"txn1.jti1","kind":"exchange","outcome":"approved","org_id":"acme","time":"2026-01-02T03:04:05.000006Z",` +
		`"transaction":"txn1","token_id":"jti1","subject":"user:acme/okta|00u1","chain":["agent:acme/researcher","agent:acme/orchestrator"],` +
		`"lineage":["jti0"],"client_id":"acme.researcher","resource":"https://executor.example","scope_asked":["a","b"],` +
		`"scope_granted":["a"],"policy_version":"3","policy_ids":["org/p1"],"trace_id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",` +
		`"connection":"c1","status":200,"detail":"naïve but fine",` +
		`"expiry":"2026-01-02T03:09:05Z","began":"2026-01-02T02:00:00Z","session":"séance",` +
		`"administrator":"user:okta|ann","role":"auditor","changes":[{"path":"agents/researcher","before":"1","after":"2"}],` +
		`"authentication":{"issuer":"https://okta.example","acr":"urn:mfa","amr":["pwd","otp"],"auth_time":"2026-01-02T03:00:00Z"}}`
	var got, wanted any
	if json.Unmarshal(stored.Body, &got) != nil || json.Unmarshal([]byte(want), &wanted) != nil || !reflect.DeepEqual(got, wanted) {
		t.Errorf("body %s\nwant %s", stored.Body, want)
	}
}

func TestRefusedRecords(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Record){
		"auth_time in 10000": func(r *Record) {
			r.Authentication = &Authentication{AuthTime: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}
		},
		"control in session":   func(r *Record) { r.Session = "a\nb" },
		"expiry in 10000":      func(r *Record) { r.Expiry = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"no org":               func(r *Record) { r.Org = "" },
		"bad org":              func(r *Record) { r.Org = "Acme Inc" },
		"no action id":         func(r *Record) { r.ActionID = "" },
		"unknown kind":         func(r *Record) { r.Kind = "hope" },
		"unknown outcome":      func(r *Record) { r.Outcome = "" },
		"no time":              func(r *Record) { r.Time = time.Time{} },
		"year 10000":           func(r *Record) { r.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"long action id":       func(r *Record) { r.ActionID = strings.Repeat("a", 257) },
		"control in subject":   func(r *Record) { r.Subject = "user:acme/okta|a\nb" },
		"NUL in token id":      func(r *Record) { r.TokenID = "a\x00" },
		"chain without end":    func(r *Record) { r.Chain = make([]string, 17) },
		"lineage without end":  func(r *Record) { r.Lineage = make([]string, 65) },
		"granted without end":  func(r *Record) { r.ScopeGranted = make([]string, 101) },
		"long granted scope":   func(r *Record) { r.ScopeGranted = []string{strings.Repeat("a", 129)} },
		"bad UTF-8 in chain":   func(r *Record) { r.Chain = []string{"\xff"} },
		"long policy version":  func(r *Record) { r.PolicyVersion = strings.Repeat("a", 129) },
		"long reason":          func(r *Record) { r.Reason = strings.Repeat("a", 65) },
		"long connection":      func(r *Record) { r.Connection = strings.Repeat("a", 257) },
		"escape in trace":      func(r *Record) { r.TraceID = "\x1b[31m" },
		"long transaction":     func(r *Record) { r.Transaction = strings.Repeat("a", 129) },
		"platform with prefix": func(r *Record) { r.Org = "_platform2" },
	} {
		r := full()
		spoil(&r)
		if _, err := r.encode(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := full()
	r.Org = store.PlatformOrg
	if _, err := r.encode(); err != nil {
		t.Errorf("the platform's own records: %v", err)
	}
}

// TestRubbishIsCleanedAndRecorded: what a caller chose cannot keep its refusal out of the trail, nor put a secret in it.
func TestRubbishIsCleanedAndRecorded(t *testing.T) {
	t.Parallel()
	r := full()
	token := "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
	r.Resource = token
	r.Detail = "refused Bearer abcdefghijklmnop\x00\x1b[2J" + strings.Repeat("é", 5000)
	r.ClientID = "\xff\xfe"
	r.ScopeAsked = make([]string, 400_000)
	r.ScopeAsked[0] = strings.Repeat("s", 1<<20)
	r.PolicyIDs = make([]string, 101)
	r.Authentication = &Authentication{Issuer: token, ACR: "Bearer abcdefghijklmnop\x1b[2J", AMR: make([]string, 1000)}
	stored, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	if body := string(stored.Body); strings.Contains(body, "eyJ") || strings.Contains(body, "abcdefghijklmnop") || len(body) > 64<<10 {
		t.Errorf("%d bytes: %.300s", len(body), body)
	}
	if by := got.Authentication; len(by.AMR) != 16 || strings.Contains(by.ACR, "\x1b") {
		t.Errorf("authentication %+v", by)
	}
	if len(got.ScopeAsked) != 100 || got.ScopeAsked[99] != "... and 399901 more" || len(got.ScopeAsked[0]) != 128 {
		t.Errorf("scopes: %d, last %q", len(got.ScopeAsked), got.ScopeAsked[99])
	}
	if len(r.ScopeAsked[0]) != 1<<20 {
		t.Error("the caller's own slice was changed")
	}
}

func TestCleanTextIsBoundedAndPrintable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s")) + rapid.String().Draw(t, "u")
		got := cleanText(s, 40)
		if len(got) > 40 || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\n\r\x1b") {
			t.Errorf("cleanText(%q) = %q", s, got)
		}
	})
}

// TestEditedRecords: a row whose body and columns disagree has been edited.
func TestEditedRecords(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*store.AuditRecord){
		"org":         func(s *store.AuditRecord) { s.Org = "other" },
		"action":      func(s *store.AuditRecord) { s.ActionID = "txn1.jti2" },
		"transaction": func(s *store.AuditRecord) { s.Transaction = "" },
		"time":        func(s *store.AuditRecord) { s.Time = s.Time.Add(time.Microsecond) },
		"empty body":  func(s *store.AuditRecord) { s.Body = nil },
		"twice":       func(s *store.AuditRecord) { s.Body = []byte(`{"kind":"admin",` + string(s.Body[1:])) },
		"trailing":    func(s *store.AuditRecord) { s.Body = append(s.Body, '{') },
	} {
		stored, err := full().encode()
		if err != nil {
			t.Fatal(err)
		}
		edit(&stored)
		if r, err := Decode(stored); err == nil {
			t.Errorf("%s: decoded %v", name, r)
		}
	}
}

func FuzzDecode(f *testing.F) {
	stored, err := full().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored.Body)
	f.Add([]byte(`{"status":1e999}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := stored
		s.Body = body
		if r, err := Decode(s); err == nil && fmt.Sprint(r.Org) != "acme" {
			t.Errorf("decoded another org's record: %+v", r)
		}
	})
}
