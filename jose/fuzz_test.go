package jose_test

import (
	"strings"
	"testing"

	"github.com/onbehalf/obo/jose"
)

// fuzzKey is a fixed key, so that the corpus stays meaningful. It guards nothing.
const fuzzKey = `{"kty":"OKP","crv":"Ed25519","kid":"fuzz","alg":"EdDSA","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",` +
	`"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

// FuzzParse: no token panics, nothing but the signer's own words verifies, and a token has one spelling (JW8).
func FuzzParse(f *testing.F) {
	s, err := jose.ParsePrivateJWK([]byte(fuzzKey))
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.Sign("at+jwt", []byte(`{"sub":"alice"}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(rfc7515ESToken)
	f.Add(rfc8037Token)
	f.Add(b64(`{"alg":"none"}`) + "." + b64("{}") + ".")
	f.Add(b64(`{"alg":"EdDSA","crit":["b64"],"b64":false}`) + "." + b64("{}") + "." + b64("x"))
	f.Fuzz(func(t *testing.T, token string) {
		m, err := jose.Parse(token)
		if err != nil {
			return
		}
		if strings.Count(token, ".") != 2 || len(token) > jose.MaxTokenSize || m.Type() != strings.ToLower(m.Type()) {
			t.Fatalf("parsed %q", token)
		}
		// The RFC 8037 key signed two things in the world of this test.
		if payload, err := m.Verify(s.Key()); err == nil && token != good && token != rfc8037Token {
			t.Fatalf("verified %q: %q", token, payload)
		}
	})
}

// FuzzKeySet: no key set panics, and what is read is served so that it is read again.
func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[` + rfc7515ES + `,` + rfc8037Key + `,` + rfc7638Key + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"},{"kty":"RSA","n":"AQAB","e":"AQAB"},null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := jose.ParseKeySet(data)
		if err != nil {
			return
		}
		again, err := jose.ParseKeySet(set.JSON())
		if err != nil || len(again.Keys()) != len(set.Keys()) {
			t.Fatalf("read %d keys, then %d: %v", len(set.Keys()), len(again.Keys()), err)
		}
	})
}
