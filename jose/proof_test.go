package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/onbehalf/obo/jose"
)

// rfc9449Proof is the proof of RFC 9449 §4.1, and rfc9449Thumbprint its key's (§6.1).
const (
	rfc9449Header = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo" +
		"RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
	rfc9449Proof = rfc9449Header + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuI" +
		"iwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfc9449Thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

// TestParseProof: the proof of the RFC, and our own of each algorithm, which nothing else takes for a token (DP1, JW6, JW14).
func TestParseProof(t *testing.T) {
	t.Parallel()
	m, key, err := jose.ParseProof(rfc9449Proof)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Verify(key); err != nil || key.Thumbprint() != rfc9449Thumbprint || key.Algorithm() != jose.ES256 {
		t.Errorf("the proof of RFC 9449: %v, thumbprint %s", err, key.Thumbprint())
	}
	for _, alg := range algorithms {
		t.Run("DP1 own proof with "+string(alg), func(t *testing.T) {
			t.Parallel()
			s := newSigner(t, "k", alg)
			proof, err := s.SignProof([]byte(`{"jti":"x"}`))
			if err != nil {
				t.Fatal(err)
			}
			m, key, err := jose.ParseProof(proof)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := m.Verify(key)
			if err != nil || string(payload) != `{"jti":"x"}` || key.Thumbprint() != s.Key().Thumbprint() || m.KeyID() != "" {
				t.Errorf("%s, %v", payload, err)
			}
			if _, err := jose.Parse(proof); !errors.Is(err, jose.ErrHeader) {
				t.Errorf("JW6: a proof is no token, but Parse says %v", err)
			}
		})
	}
	if _, err := (jose.Signer{}).SignProof([]byte("{}")); !errors.Is(err, jose.ErrKey) {
		t.Errorf("the zero Signer: %v", err)
	}
}

// proofHeader is a header of a proof, as good as its parts.
func proofHeader(typ, alg, jwk string) string {
	return `{"typ":"` + typ + `","alg":"` + alg + `","jwk":` + jwk + `}`
}

// TestParseProofRefuses: what a proof's header may not be. None of these comes to a signature.
func TestParseProofRefuses(t *testing.T) {
	t.Parallel()
	const members = `"crv":"P-256","kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"`
	good := `{` + members + `}`
	if _, _, err := jose.ParseProof(proofToken(proofHeader("dpop+jwt", "ES256", good))); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, header := range map[string]string{
		"DP1 JW4 typ of an access token":   proofHeader("at+jwt", "ES256", good),
		"DP1 JW4 typ JWT":                  proofHeader("JWT", "ES256", good),
		"DP1 no typ":                       `{"alg":"ES256","jwk":` + good + `}`,
		"DP1 no jwk":                       `{"typ":"dpop+jwt","alg":"ES256"}`,
		"DP1 jwk null":                     proofHeader("dpop+jwt", "ES256", `null`),
		"DP1 jwk a string":                 proofHeader("dpop+jwt", "ES256", `"x"`),
		"DP1 jwk an array":                 proofHeader("dpop+jwt", "ES256", `[`+good+`]`),
		"DP1 jwk empty":                    proofHeader("dpop+jwt", "ES256", `{}`),
		"DP1 a private key":                proofHeader("dpop+jwt", "ES256", `{`+members+`,"d":"AAAA"}`),
		"DP1 a private member of RSA":      proofHeader("dpop+jwt", "ES256", `{`+members+`,"qi":"AAAA"}`),
		"DP1 a symmetric key":              proofHeader("dpop+jwt", "HS256", `{"kty":"oct","k":"AAAA"}`),
		"DP1 JW1 alg none":                 proofHeader("dpop+jwt", "none", good),
		"DP1 JW1 alg HS256":                proofHeader("dpop+jwt", "HS256", good),
		"DP1 JW2 alg of another key":       proofHeader("dpop+jwt", "RS256", good),
		"DP1 JW2 jwk of another alg":       proofHeader("dpop+jwt", "ES256", `{`+members+`,"alg":"ES384"}`),
		"DP1 jwk for encryption":           proofHeader("dpop+jwt", "ES256", `{`+members+`,"use":"enc"}`),
		"DP1 jwk with key_ops sign":        proofHeader("dpop+jwt", "ES256", `{`+members+`,"key_ops":["sign"]}`),
		"DP1 another curve":                proofHeader("dpop+jwt", "ES256", strings.Replace(good, "P-256", "P-384", 1)),
		"DP1 a point off the curve":        proofHeader("dpop+jwt", "ES256", strings.Replace(good, "l8tF", "l8tG", 1)),
		"DP1 JW9 jwk with a name twice":    proofHeader("dpop+jwt", "ES256", `{`+members+`,"x":"AAAA"}`),
		"JW9 jwk twice":                    `{"typ":"dpop+jwt","alg":"ES256","jwk":` + good + `,"jwk":` + good + `}`,
		"JW6 jku beside it":                `{"typ":"dpop+jwt","alg":"ES256","jku":"https://evil.example","jwk":` + good + `}`,
		"JW6 x5c beside it":                `{"typ":"dpop+jwt","alg":"ES256","x5c":["MIIB"],"jwk":` + good + `}`,
		"JW7 crit":                         `{"typ":"dpop+jwt","alg":"ES256","crit":["x"],"x":1,"jwk":` + good + `}`,
		"JW16 enc":                         `{"typ":"dpop+jwt","alg":"ES256","enc":"A128GCM","jwk":` + good + `}`,
		"JW15 RSA of 1024 bits":            proofHeader("dpop+jwt", "RS256", rsaJWK(t, 1024, 65537)),
		"DP1 RSA of 8192 bits":             proofHeader("dpop+jwt", "RS256", rsaJWK(t, 8192, 65537)),
		"DP1 RSA with a slow exponent":     proofHeader("dpop+jwt", "PS256", rsaJWK(t, 2048, 1<<31-1)),
		"JW15 RSA with the exponent one":   proofHeader("dpop+jwt", "PS256", rsaJWK(t, 2048, 1)),
		"ACT13 JWK in capitals is no jwk":  `{"typ":"dpop+jwt","alg":"ES256","JWK":` + good + `}`,
		"DP1 the type of a key in capital": proofHeader("dpop+jwt", "ES256", strings.Replace(good, `"EC"`, `"ec"`, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := jose.ParseProof(proofToken(header))
			if !errors.Is(err, jose.ErrHeader) && !errors.Is(err, jose.ErrAlgorithm) {
				t.Errorf("got %v", err)
			}
		})
	}
	for name, token := range map[string]string{
		"JW8 two parts": rfc9449Header + ".e30", "JW16 five parts": rfc9449Proof + ".YQ.YQ", "JW8 empty": "",
		"JW16 too long": rfc9449Header + "." + strings.Repeat("A", jose.MaxTokenSize) + ".YQ",
	} {
		if _, _, err := jose.ParseProof(token); !errors.Is(err, jose.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func proofToken(header string) string { return b64(header) + "." + b64("{}") + "." + b64("sig") }

// rsaJWK is a public key of random bits: nobody will sign with it.
func rsaJWK(t *testing.T, bits int, exponent int64) string {
	t.Helper()
	n := make([]byte, bits/8)
	if _, err := rand.Read(n); err != nil {
		t.Fatal(err)
	}
	n[0] |= 0x80
	n[len(n)-1] |= 1
	e := []byte{byte(exponent >> 24), byte(exponent >> 16), byte(exponent >> 8), byte(exponent)}
	return `{"kty":"RSA","n":"` + b64(string(n)) + `","e":"` + b64(strings.TrimLeft(string(e), "\x00")) + `"}`
}

// TestThumbprintOfEveryKind: what stands in a proof has the thumbprint that stands in a token, and members
// that are not required do not change it (RFC 7638 §3.2).
func TestThumbprintOfEveryKind(t *testing.T) {
	t.Parallel()
	for _, alg := range algorithms {
		s := newSigner(t, "some kid", alg)
		set, err := jose.ParseKeySet([]byte(`{"keys":[` + string(s.Key().JSON()) + `]}`))
		if err != nil || len(set.Keys()) != 1 {
			t.Fatal(err)
		}
		bare, err := jose.NewKey("", alg, s.Key().Public())
		if err != nil {
			t.Fatal(err)
		}
		if set.Keys()[0].Thumbprint() != s.Key().Thumbprint() || bare.Thumbprint() != s.Key().Thumbprint() {
			t.Errorf("%s: thumbprints differ", alg)
		}
	}
}

// TestPS256HasOneSalt: PS256 is PSS with a salt of 32 bytes, and a signature with another is none (RFC 7518 §3.5).
func TestPS256HasOneSalt(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.NewKey("k", jose.PS256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signed := b64(`{"alg":"PS256"}`) + "." + b64("{}")
	sum := crypto.SHA256.New()
	sum.Write([]byte(signed))
	for _, length := range []int{20, 31, 32, 33, 64} {
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum.Sum(nil), &rsa.PSSOptions{SaltLength: length})
		if err != nil {
			t.Fatal(err)
		}
		m, err := jose.Parse(signed + "." + b64(string(signature)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Verify(public); (err == nil) != (length == 32) {
			t.Errorf("a salt of %d bytes: %v", length, err)
		}
	}
}

// TestKeyOperations: JW12: a key says what it is for, and is passed over for anything else (RFC 7517 §4.3).
func TestKeyOperations(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := jose.NewKey("k", jose.ES256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for operations, want := range map[string]int{
		`["verify"]`: 1, `["sign","verify"]`: 1, `["sign"]`: 0, `["encrypt"]`: 0, `[]`: 0, `"verify"`: 0, `null`: 0,
	} {
		var jwk map[string]any
		if err := json.Unmarshal(k.JSON(), &jwk); err != nil {
			t.Fatal(err)
		}
		jwk["key_ops"] = json.RawMessage(operations)
		data, err := json.Marshal(map[string]any{"keys": []any{jwk}})
		if err != nil {
			t.Fatal(err)
		}
		set, err := jose.ParseKeySet(data)
		if err != nil || len(set.Keys()) != want {
			t.Errorf("key_ops %s: %d keys, %v", operations, len(set.Keys()), err)
		}
	}
}
