package page_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/wire/grpcerr"
	"github.com/onbehalf/obo/wire/page"
)

// TestSize (AIP-158): more than the most is the most, and less than nothing is refused.
func TestSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[int32]int{0: page.DefaultSize, 1: 1, 999: 999, 1000: 1000, 1001: page.MaxSize, 1<<31 - 1: 1000} {
		if p, err := page.Of(&obov1.ListAgentsRequest{PageSize: in}); err != nil || p.Size != want {
			t.Errorf("page_size %d: %d, %v", in, p.Size, err)
		}
	}
	for _, in := range []int32{-1, -1 << 31} {
		if _, err := page.Of(&obov1.ListAgentsRequest{PageSize: in}); field(err) != "page_size" {
			t.Errorf("page_size %d: %v", in, err)
		}
	}
}

func field(err error) string {
	e, _ := errors.AsType[grpcerr.Error](err)
	return e.Field
}

// TestTokenIsOfItsRequest (threat: tenant mix-up): the token of one list continues that list alone, at any size of page.
func TestTokenIsOfItsRequest(t *testing.T) {
	t.Parallel()
	first, err := page.Of(&obov1.ListAgentsRequest{OrgId: "acme", PageSize: 3})
	if err != nil {
		t.Fatal(err)
	}
	token := first.Next("researcher")
	for _, size := range []int32{0, 3, 7, 5000} {
		p, err := page.Of(&obov1.ListAgentsRequest{OrgId: "acme", PageSize: size, PageToken: token})
		if err != nil || p.After != "researcher" {
			t.Errorf("page_size %d: %q, %v", size, p.After, err)
		}
	}
	for name, other := range map[string]page.Request{
		"another org":    &obov1.ListAgentsRequest{OrgId: "globex", PageToken: token},
		"no org":         &obov1.ListAgentsRequest{PageToken: token},
		"another list":   &obov1.ListConnectionsRequest{OrgId: "acme", PageToken: token},
		"a list of none": &obov1.ListOrgsRequest{PageToken: token},
	} {
		if p, err := page.Of(other); field(err) != "page_token" || p.After != "" {
			t.Errorf("%s: %q, %v", name, p.After, err)
		}
	}
}

// TestStrict: there is one text for each token, and no other is read.
func TestStrict(t *testing.T) {
	t.Parallel()
	p, err := page.Of(&obov1.ListAgentsRequest{OrgId: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	good := p.Next("ab")
	raw, _ := base64.RawURLEncoding.DecodeString(good)
	changed := func(f func(b []byte) []byte) string {
		return base64.RawURLEncoding.EncodeToString(f(append([]byte(nil), raw...)))
	}
	for name, text := range map[string]string{
		"a bare name":          "researcher",
		"padding":              good + "=",
		"a line break":         good[:4] + "\n" + good[4:],
		"a carriage return":    good + "\r",
		"the other alphabet":   base64.RawStdEncoding.EncodeToString([]byte("\xfb\xff\xfe")) + good,
		"no key":               changed(func(b []byte) []byte { return b[:17] }),
		"half a hash":          changed(func(b []byte) []byte { return b[:9] }),
		"another version":      changed(func(b []byte) []byte { b[0]++; return b }),
		"another hash":         changed(func(b []byte) []byte { b[5] ^= 1; return b }),
		"too long":             p.Next(strings.Repeat("k", 1025)),
		"far too long":         strings.Repeat("A", 1<<20),
		"bits after the end":   good[:len(good)-1] + string(rune(good[len(good)-1]+1)),
		"text that is no text": "\x00",
	} {
		if got, err := page.Of(&obov1.ListAgentsRequest{OrgId: "acme", PageToken: text}); field(err) != "page_token" {
			t.Errorf("%s: %q, %v", name, got.After, err)
		}
	}
}

// TestTokenLaw: whatever the key and the request, the token gives the key back, and a request that differs does not take it.
func TestTokenLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		org, other := rapid.String().Draw(rt, "org"), rapid.String().Draw(rt, "other")
		key := rapid.StringN(1, 200, 1024).Draw(rt, "key")
		p, err := page.Of(&obov1.ListRevocationsRequest{OrgId: org})
		if err != nil {
			rt.Skip() // not UTF-8
		}
		again, err := page.Of(&obov1.ListRevocationsRequest{OrgId: org, PageToken: p.Next(key), PageSize: 7})
		if err != nil || again.After != key {
			rt.Fatalf("%q came back as %q, %v", key, again.After, err)
		}
		if _, err := page.Of(&obov1.ListRevocationsRequest{OrgId: other, PageToken: p.Next(key)}); (err == nil) != (org == other) {
			rt.Fatalf("org %q took the token of %q: %v", other, org, err)
		}
	})
}

// FuzzToken: whatever is taken for a token is the one text of its key, and the request is left as it was.
func FuzzToken(f *testing.F) {
	p, err := page.Of(&obov1.ListAgentsRequest{OrgId: "acme"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Next("researcher"))
	f.Add("researcher")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		in := &obov1.ListAgentsRequest{OrgId: "acme", PageToken: text}
		before := proto.Clone(in)
		got, err := page.Of(in)
		if err == nil && text != "" && got.Next(got.After) != text {
			t.Errorf("%q stands for %q, whose token is %q", text, got.After, got.Next(got.After))
		}
		if (err == nil) != (text == "" || got.After != "") || !proto.Equal(in, before) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	})
}
