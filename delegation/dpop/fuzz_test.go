package dpop_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
)

// fuzzKey is a fixed key (RFC 8037 A.1), so that a corpus keeps its meaning.
const fuzzKey = `{"kty":"OKP","crv":"Ed25519","kid":"fuzz","alg":"EdDSA","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",` +
	`"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

// FuzzCheck: DP1, DP2, DP3: no proof panics, signed or not; of what comes unsigned only the RFC's proof is taken; and what is
// signed is taken only when it says all that it must.
func FuzzCheck(f *testing.F) {
	s, err := jose.ParsePrivateJWK([]byte(fuzzKey))
	if err != nil {
		f.Fatal(err)
	}
	const good = `{"jti":"j","htm":"POST","htu":"https://server.example.com/token","iat":1562262616}`
	for _, payload := range []string{
		good, `{}`, `null`, strings.Replace(good, `"j"`, `""`, 1), strings.Replace(good, `server.`, `SERVER.`, 1),
		strings.Replace(good, `/token`, `:443/a/%2e%2e/%74oken`, 1), strings.Replace(good, `1562262616`, `1.562262616e9`, 1),
	} {
		f.Add(rfcTokenProof, payload, "https://server.example.com/token")
	}
	f.Add(rfcResourceProof, good, "https://resource.example.org/protectedresource")
	f.Add(rfcHeader+".e30.AA", good, "HTTPS://server.example.com:443/token?x#y")
	checker := newChecker(f, dpop.Config{Now: func() time.Time { return time.Unix(1562262616, 0) }})
	f.Fuzz(func(t *testing.T, proof, payload, uri string) {
		if p, err := checker.Check(dpop.Request{Proofs: []string{proof}, Method: "POST", URI: uri}); err == nil && proof != rfcTokenProof {
			t.Fatalf("took %q of key %s", proof, p.JKT)
		} else if err != nil && !errors.Is(err, dpop.ErrProof) {
			t.Fatal(err)
		}
		signed, err := s.SignProof([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		p, err := checker.Check(dpop.Request{Proofs: []string{signed}, Method: "POST", URI: uri})
		if err != nil {
			return
		}
		var c struct {
			ID     string `json:"jti"`
			Method string `json:"htm"`
			URI    string `json:"htu"`
		}
		if err := jose.DecodeClaims([]byte(payload), &c); err != nil || c.ID == "" || len(c.ID) > 256 || c.Method != http.MethodPost ||
			strings.ContainsAny(c.URI, "?#@ ") || p.JKT != s.Key().Thumbprint() {
			t.Fatalf("took %s for %s", payload, uri)
		}
		// The proof's own URI is a spelling of the target: it is as good a target as that.
		if again, err := checker.Check(dpop.Request{Proofs: []string{signed}, Method: "POST", URI: c.URI}); err != nil || again != p {
			t.Fatalf("%s for %s, but not for itself: %v", payload, uri, err)
		}
	})
}
