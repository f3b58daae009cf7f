package jose_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/onbehalf/obo/jose"
)

// The keys and tokens of RFC 7515 A.2 and A.3, RFC 8037 A.1 to A.4 and RFC 7638 §3.1.
const (
	rfc7515ES = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",` +
		`"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	rfc7515ESToken = `eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb` +
		`290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q`
	rfc8037Key   = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfc8037Token = `eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.` +
		`hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg`
	rfc7638Key = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKR` +
		`XjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6` +
		`qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",` +
		`"e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
)

func TestRFCVectors(t *testing.T) {
	t.Parallel()
	set, err := jose.ParseKeySet([]byte(`{"keys":[` + rfc7515ES + `,` + rfc8037Key + `,` + rfc7638Key + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ token, payload string }{
		{rfc7515ESToken, "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"},
		{rfc8037Token, "Example of Ed25519 signing"},
	} {
		m, err := jose.Parse(c.token)
		if err != nil {
			t.Fatal(err)
		}
		key, found := set.Find("", m.Algorithm())
		if !found {
			t.Fatalf("no key for %s", m.Algorithm())
		}
		if payload, err := m.Verify(key); err != nil || string(payload) != c.payload {
			t.Errorf("%s: %q, %v", m.Algorithm(), payload, err)
		}
	}
	if key, _ := set.Find("2011-04-29", jose.RS256); key.Thumbprint() != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("RFC 7638: thumbprint is %q", key.Thumbprint())
	}
	if key, _ := set.Find("", jose.EdDSA); key.Thumbprint() != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("RFC 8037 A.3: thumbprint is %q", key.Thumbprint())
	}
}

// TestParseKeySetPassesOver: what is of no use or no safety is not in the set, and does not spoil the rest (JW12, JW15).
func TestParseKeySetPassesOver(t *testing.T) {
	t.Parallel()
	for name, jwk := range map[string]string{
		"unknown kty":          `{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`,
		"unknown curve":        `{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}`,
		"X25519":               `{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"use enc":              strings.Replace(rfc7515ES, `{`, `{"use":"enc",`, 1),
		"alg of encryption":    strings.Replace(rfc7515ES, `{`, `{"alg":"ECDH-ES",`, 1),
		"alg of another kty":   strings.Replace(rfc7515ES, `{`, `{"alg":"RS256",`, 1),
		"HS256 on an RSA key":  strings.Replace(rfc7638Key, `RS256`, `HS256`, 1),
		"symmetric":            `{"kty":"oct","alg":"HS256","k":"c2VjcmV0"}`,
		"private EC":           strings.Replace(rfc7515ES, `{`, `{"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",`, 1),
		"RSA with a prime":     strings.Replace(rfc7638Key, `{`, `{"p":"AQAB",`, 1),
		"not on the curve":     strings.Replace(rfc7515ES, `f83O`, `f83P`, 1),
		"x5c does not help":    `{"kty":"EC","crv":"P-256","x5c":["MIIB"]}`,
		"RSA of 16 bits":       `{"kty":"RSA","n":"AQAB","e":"AQAB"}`,
		"RSA, exponent 1":      strings.Replace(rfc7638Key, `AQAB`, `AQ`, 1),
		"kid a number":         strings.Replace(rfc7515ES, `{`, `{"kid":1,`, 1),
		"kid with a control":   strings.Replace(rfc7515ES, `{`, `{"kid":"a\u0000",`, 1),
		"not an object":        `17`,
		"d is null, all there": strings.Replace(rfc7515ES, `{`, `{"d":null,`, 1),
	} {
		set, err := jose.ParseKeySet([]byte(`{"keys":[` + jwk + `,` + rfc8037Key + `]}`))
		if err != nil || len(set.Keys()) != 1 {
			t.Errorf("%s: %d keys, %v; want the other one alone", name, len(set.Keys()), err)
		}
	}
	for name, doc := range map[string]string{
		"not JSON": `{`, "no keys": `{}`, "null": `{"keys":null}`, "duplicate keys": `{"keys":[],"keys":[]}`,
		"duplicate member of a key": `{"keys":[{"kty":"EC","kty":"RSA"}]}`, "KEYS": `{"KEYS":[]}`,
		"too many": `{"keys":[` + strings.Repeat("1,", 300) + `1]}`, "too long": strings.Repeat(" ", jose.MaxKeySetSize+1),
	} {
		if _, err := jose.ParseKeySet([]byte(doc)); !errors.Is(err, jose.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	a, b := newSigner(t, "a", jose.ES256).Key(), newSigner(t, "b", jose.ES256).Key()
	ed := newSigner(t, "a", jose.Ed25519).Key() // the same kid for another algorithm: chosen by alg (JW12)
	set := jose.NewKeySet(a, b, ed)
	for _, c := range []struct {
		kid  string
		alg  jose.Algorithm
		want jose.Key
		ok   bool
	}{
		{"a", jose.ES256, a, true}, {"b", jose.ES256, b, true}, {"a", jose.EdDSA, ed, true}, {"a", jose.Ed25519, ed, true},
		{"", jose.EdDSA, ed, true}, {"", jose.ES256, jose.Key{}, false}, {"c", jose.ES256, jose.Key{}, false},
		{"a", jose.RS256, jose.Key{}, false}, {"A", jose.ES256, jose.Key{}, false},
	} {
		if got, ok := set.Find(c.kid, c.alg); ok != c.ok || got.Thumbprint() != c.want.Thumbprint() {
			t.Errorf("Find(%q, %s): %q, %t", c.kid, c.alg, got.KeyID(), ok)
		}
	}
	if _, ok := (jose.KeySet{}).Find("a", jose.ES256); ok {
		t.Error("the empty set found a key")
	}
}

// TestPublishedSet: what we serve is what we read, public only, and each key says its kid, alg and use (MD6).
func TestPublishedSet(t *testing.T) {
	t.Parallel()
	var keys []jose.Key
	for _, alg := range algorithms {
		keys = append(keys, newSigner(t, "kid-"+string(alg), alg).Key())
	}
	data := jose.NewKeySet(keys...).JSON()
	for _, private := range []string{`"d"`, `"p"`, `"q"`, `"dp"`, `"dq"`, `"qi"`, `"k"`} {
		if bytes.Contains(data, []byte(private+":")) {
			t.Errorf("the set has a member %s", private)
		}
	}
	set, err := jose.ParseKeySet(data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(set.JSON(), data) || len(set.Keys()) != len(algorithms) {
		t.Errorf("read back as\n%s\nof\n%s", set.JSON(), data)
	}
	if n := bytes.Count(data, []byte(`"use":"sig"`)); n != len(algorithms) {
		t.Errorf("%d keys say their use", n)
	}
	if got := string((jose.KeySet{}).JSON()); got != `{"keys":[]}` {
		t.Errorf("the empty set is %s", got)
	}
}

func TestPrivateJWK(t *testing.T) {
	t.Parallel()
	for _, alg := range algorithms {
		key, err := jose.Generate(alg)
		if err != nil {
			t.Fatal(err)
		}
		data, err := jose.MarshalPrivateJWK("k", alg, key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := jose.ParsePrivateJWK(data)
		if err != nil {
			t.Fatal(err)
		}
		if s.Key().Algorithm() != alg || s.Key().KeyID() != "k" {
			t.Errorf("%s: read as %s %s", alg, s.Key().Algorithm(), s.Key().KeyID())
		}
		if set, err := jose.ParseKeySet(append(append([]byte(`{"keys":[`), data...), `]}`...)); err != nil || len(set.Keys()) != 0 {
			t.Errorf("%s: a private key is in a public set (%v)", alg, err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			if out := fmt.Sprintf(verb, s); out != "jose.Signer k" {
				t.Errorf("%s prints %q", verb, out)
			}
			_ = fmt.Sprintf(verb, &s)
		}
	}
	for name, doc := range map[string]string{
		"public": rfc7515ES, "not JSON": `{`, "symmetric": `{"kty":"oct","k":"AA","d":"AA","kid":"k"}`,
		"no kid":             strings.Replace(rfc7515ES, `{`, `{"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",`, 1),
		"halves of two keys": strings.Replace(rfc7515ES, `{`, `{"kid":"k","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",`, 1),
		"bad point":          `{"kty":"EC","crv":"P-256","kid":"k","d":"AA","x":"AA","y":"AA"}`,
	} {
		if _, err := jose.ParsePrivateJWK([]byte(doc)); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := jose.NewSigner("k", jose.ES256, nil); !errors.Is(err, jose.ErrKey) {
		t.Errorf("nil key: %v", err)
	}
	if _, err := (jose.Signer{}).Sign("", nil); !errors.Is(err, jose.ErrKey) {
		t.Errorf("zero signer: %v", err)
	}
}
