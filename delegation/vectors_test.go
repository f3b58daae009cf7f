package delegation_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

var update = flag.Bool("update", false, "make new vectors; a change of the files is a change of the protocol")

// vectorFile is testdata/vectors/*.json; its README explains it.
type vectorFile struct {
	Issuer        string       `json:"issuer"`
	Audience      string       `json:"audience"`
	Now           string       `json:"now"`
	LeewaySeconds int          `json:"leeway_seconds"`
	MaxDepth      int          `json:"max_depth"`
	JWKS          vectorKeySet `json:"jwks"`
	Vectors       []vector     `json:"vectors"`
}

type vectorKeySet struct {
	Keys []map[string]any `json:"keys"`
}

type vector struct {
	Name        string      `json:"name"`
	Rule        string      `json:"rule"`
	Why         string      `json:"why"`
	AcceptBound bool        `json:"accept_bound,omitempty"`
	Proven      *vectorKeys `json:"proven,omitempty"`
	Token       string      `json:"token"`
	Error       string      `json:"error,omitempty"`
	Says        *vectorSays `json:"says,omitempty"`
}

// vectorKeys are thumbprints of what the caller has proven.
type vectorKeys struct {
	JKT string `json:"jkt,omitempty"`
	X5T string `json:"x5t#S256,omitempty"`
}

// read verifies the token of a vector as the vector says.
func (v vector) read(t testing.TB, f vectorFile) (delegation.Verified, error) {
	t.Helper()
	verifier := f.verifier(t, v.AcceptBound)
	if v.Proven == nil {
		return verifier.Verify(t.Context(), v.Token)
	}
	return verifier.VerifyPossessed(t.Context(), v.Token, delegation.Possession{JKT: v.Proven.JKT, X5T: v.Proven.X5T})
}

// vectorSays is what a good token says to whoever reads it right.
type vectorSays struct {
	Subject string   `json:"sub"`
	Org     string   `json:"org_id"`
	Chain   []string `json:"chain"`
	Scope   []string `json:"scope"`
	Expiry  int64    `json:"exp"`
}

// vectorErrors are the names of the sentinels in the files.
var vectorErrors = map[string]error{
	"malformed": delegation.ErrMalformed, "type": delegation.ErrType, "algorithm": delegation.ErrAlgorithm,
	"unknown_key": delegation.ErrUnknownKey, "signature": delegation.ErrSignature, "issuer": delegation.ErrIssuer,
	"audience": delegation.ErrAudience, "expired": delegation.ErrExpired, "not_yet_valid": delegation.ErrNotYetValid,
	"claims": delegation.ErrClaims, "chain": delegation.ErrChain, "bound": delegation.ErrBound,
}

func readVectors(t testing.TB, name string) vectorFile {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := jose.DecodeClosed(data, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// verifier is one by the file's own terms.
func (f vectorFile) verifier(t testing.TB, acceptBound bool) *delegation.Verifier {
	t.Helper()
	now, err := time.Parse(time.RFC3339, f.Now)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := jose.Encode(f.JWKS)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jose.ParseKeySet(jwks)
	if err != nil {
		t.Fatal(err)
	}
	return newVerifier(t, delegation.VerifierConfig{
		Issuer: f.Issuer, Audience: f.Audience, Keys: delegation.StaticKeys(keys), Revocations: delegation.NoRevocations,
		Now: func() time.Time { return now }, Leeway: time.Duration(f.LeewaySeconds) * time.Second, MaxDepth: f.MaxDepth,
		AcceptBound: acceptBound, Remember: -1,
	})
}

// TestVectors: the golden tokens, good and evil, each under the name of its rule. With -update they are made anew.
func TestVectors(t *testing.T) {
	t.Parallel()
	if *update {
		writeVectors(t)
	}
	good, evil := readVectors(t, "good.json"), readVectors(t, "evil.json")
	if len(good.Vectors) < 30 || len(evil.Vectors) < 70 {
		t.Errorf("%d good and %d evil vectors", len(good.Vectors), len(evil.Vectors))
	}
	names := map[string]bool{}
	for _, f := range []vectorFile{good, evil} {
		for _, v := range f.Vectors {
			if names[v.Name] || v.Name == "" || v.Rule == "" || v.Why == "" {
				t.Errorf("vector %q has no name of its own, no rule or no reason", v.Name)
			}
			names[v.Name] = true
			t.Run(v.Rule+" "+v.Name, func(t *testing.T) {
				t.Parallel()
				if f.Vectors[0].Error == "" {
					checkGood(t, f, v)
				} else {
					checkEvil(t, f, v)
				}
			})
		}
	}
}

func checkGood(t *testing.T, f vectorFile, v vector) {
	t.Helper()
	got, err := v.read(t, f)
	if err != nil {
		t.Errorf("good %q (%s): %v", v.Name, v.Rule, err)
		return
	}
	if got.Subject() != v.Says.Subject || string(got.OrgID()) != v.Says.Org || got.Expiry().Unix() != v.Says.Expiry ||
		strings.Join(got.Chain(), " ") != strings.Join(v.Says.Chain, " ") || got.Scope().String() != strings.Join(v.Says.Scope, " ") {
		t.Errorf("good %q says %v, want %v", v.Name, got.Claims(), v.Says)
	}
}

func checkEvil(t *testing.T, f vectorFile, v vector) {
	t.Helper()
	want, ok := vectorErrors[v.Error]
	if !ok {
		t.Errorf("evil %q: unknown error %q", v.Name, v.Error)
		return
	}
	if _, err := v.read(t, f); !errors.Is(err, want) {
		t.Errorf("evil %q (%s): got %v, want %v", v.Name, v.Rule, err, want)
	}
}
