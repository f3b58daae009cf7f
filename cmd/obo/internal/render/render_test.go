package render

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

func TestNoColourWithoutATerminal(t *testing.T) {
	t.Parallel()
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	for name, p := range map[string]Printer{"buffer": New(&b, false, false), "file": New(f, false, false)} {
		if p.Color || p.Red("x") != "x" {
			t.Errorf("%s: colour", name)
		}
	}
	if (Printer{Color: true}).Red("x") == "x" {
		t.Error("no colour where it is wanted")
	}
}

func TestCleanLeavesNothingForATerminalToObey(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain ünïcode": "plain ünïcode", "a\x1b[31mb": "a·[31mb", "a\r\nb": "a··b", "a\u202eb": "a·b", "a\u200bb": "a·b",
		"a\xffb": "a·b", "\a\b\x7f\u009b": "····", "a\u2028b": "a·b",
	} {
		if got := Clean(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestTokenIsDrawnAsATree(t *testing.T) {
	t.Parallel()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner("k", jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	token, err := signer.Sign("at+jwt", []byte(`{"iss":"https://sts","aud":"https://r","sub":"user:a/i|u","org_id":"a","scope":"x y","exp":1300,`+
		`"jti":"J","txn":"T","lineage":["P"],"act":{"sub":"agent:a/two","act":{"sub":"agent:a/one"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	New(&b, false, false).Token("", parsed, now)
	want := "user:a/i|u  on whose behalf (sub)\n└─ agent:a/one  hop 1\n   └─ agent:a/two  hop 2, acts now (act)\n"
	if !strings.HasPrefix(b.String(), want) || !strings.Contains(b.String(), "in 5m0s") {
		t.Errorf("got\n%s", b.String())
	}
	b.Reset()
	New(&b, false, false).Token("", parsed, now.Add(time.Hour))
	if !strings.Contains(b.String(), "expired") {
		t.Errorf("got\n%s", b.String())
	}
	if _, err := ParseToken("a.b.c"); err == nil {
		t.Error("a token of nothing was parsed")
	}
}

// Each server's own order stands; between the servers the clock decides.
func TestMergeKeepsEachServersOrder(t *testing.T) {
	t.Parallel()
	at := func(seq uint64, second int64) *obov1.AuditRecord {
		return &obov1.AuditRecord{Sequence: seq, Time: &timestamppb.Timestamp{Seconds: second}}
	}
	got := Merge([]*obov1.AuditRecord{at(1, 10), at(2, 9), at(3, 20)}, []*obov1.AuditRecord{at(1, 11), at(2, 30)})
	var order []string
	for _, e := range got {
		order = append(order, e.Server[:1]+string(rune('0'+e.Record.GetSequence())))
	}
	if s := strings.Join(order, " "); s != "s1 s2 e1 s3 e2" {
		t.Errorf("got %s", s)
	}
}

// A sign-in says how somebody authenticated, in the issuer's own words, which cannot steer the terminal.
func TestEntryOfASignIn(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	New(&b, false, false).Entry("", Entry{"sts", &obov1.AuditRecord{
		Kind: "admin", Outcome: "approved", Administrator: "user:acme/okta|ann", Role: "auditor", TokenId: "jti-1", Resource: "sign-in",
		Authentication: &obov1.Authentication{Issuer: "https://okta.example", Acr: "urn:mfa\x1b[2J", Amr: []string{"pwd", "otp"},
			AuthTime: &timestamppb.Timestamp{Seconds: 60}},
	}})
	for _, want := range []string{"by user:acme/okta|ann (auditor)", "under token jti-1", "authenticated by https://okta.example, amr pwd otp",
		"at 1970-01-01T00:01:00Z"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("got %q", b.String())
	}
}

func TestJSONIsJSON(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := New(&b, true, false)
	if err := p.Print(&obov1.ExchangeResponse{AccessToken: "t"}, func() { t.Error("text was asked for") }); err != nil {
		t.Fatal(err)
	}
	if err := p.Line(EntryView(Entry{"sts", &obov1.AuditRecord{Kind: "exchange"}}), nil); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(&b)
	for range 2 {
		var v map[string]any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTableIsAligned(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	New(&b, false, false).Table([][]string{{"A", "B"}, {"ünï", "x"}, {"n", "y"}})
	if b.String() != "A    B\nünï  x\nn    y\n" {
		t.Errorf("got %q", b.String())
	}
}
