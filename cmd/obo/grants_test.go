package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/jose"
)

func TestExchangeByOtherGrants(t *testing.T) {
	t.Parallel()
	f, env := environment(t)
	for name, v := range map[string]struct {
		args                       []string
		grant, assertion, wantType string
	}{
		"client_credentials": {[]string{"--grant-type", "client_credentials"}, "client_credentials", "", ""},
		"jwt-bearer": {[]string{"--grant-type", "jwt-bearer"}, "urn:ietf:params:oauth:grant-type:jwt-bearer",
			"header.payload.signature", ""},
		"an ID-JAG": {[]string{"--subject-token-type", "id_token", "--requested-token-type", "id-jag", "--audience", "https://as"},
			"", "", "urn:ietf:params:oauth:token-type:id-jag"},
	} {
		t.Run(name, func(t *testing.T) {
			got := obo(t, env, "", append([]string{"exchange"}, v.args...)...)
			if got.code != 0 {
				t.Fatalf("exit %d: %s", got.code, got.err)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.exchange.GetGrantType() != v.grant || f.exchange.GetAssertion() != v.assertion ||
				f.exchange.GetRequestedTokenType() != v.wantType || v.grant != "" && f.exchange.GetSubjectToken() != "" {
				t.Errorf("sent %v", f.exchange)
			}
		})
	}
}

func TestAuthorizationDetailsComeFromAFileToo(t *testing.T) {
	t.Parallel()
	f, env := environment(t)
	file := filepath.Join(t.TempDir(), "details.json")
	if err := os.WriteFile(file, []byte(`[{"type":"t"}]`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{`[{"type":"t"}]`, "@" + file} {
		got := obo(t, env, "", "exchange", "--subject-token-type", "id_token", "--authorization-details", value)
		if got.code != 0 || f.exchange.GetAuthorizationDetails() != `[{"type":"t"}]` {
			t.Errorf("exit %d, sent %q: %s", got.code, f.exchange.GetAuthorizationDetails(), got.err)
		}
		asJSON := obo(t, env, "", "exchange", "--subject-token-type", "id_token", "--authorization-details", value, "-o", "json")
		var answer struct {
			Details []map[string]string `json:"authorization_details"`
		}
		if err := json.Unmarshal([]byte(asJSON.out), &answer); err != nil || len(answer.Details) != 1 || answer.Details[0]["type"] != "t" {
			t.Errorf("%v: the details in the answer are no array: %s", err, asJSON.out)
		}
	}
}

// TestCredentialFlagsBeatTheEnvironment: a secret on the command line is the one that is tried, also for an agent of the environment.
func TestCredentialFlagsBeatTheEnvironment(t *testing.T) {
	t.Parallel()
	f, env := environment(t)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("of-the-flag"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := obo(t, env, "", "exchange", "--subject-token-type", "id_token", "--client-secret-file", file)
	pair, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(f.authorization, "Basic "))
	if got.code != 0 || err != nil || !strings.HasSuffix(string(pair), ":of-the-flag") {
		t.Errorf("exit %d, sent %q: %s", got.code, pair, got.err)
	}
	if got := obo(t, env, "", "exchange", "--client-secret-file", file, "--client-key", file); got.code != explain.Usage {
		t.Errorf("two credentials: exit %d: %s", got.code, got.err)
	}
}

// TestDPoPKey: DP4, DP5, DP10.
func TestDPoPKey(t *testing.T) {
	t.Parallel()
	f, env := environment(t)
	file := filepath.Join(t.TempDir(), "dpop.jwk")
	got := obo(t, env, "", "exchange", "--subject-token-type", "id_token", "--dpop-key", file)
	if got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key that was made: %v, %v", info, err)
	}
	if len(f.proofs) != 2 {
		t.Fatalf("%d attempts, want one without the nonce and one with it", len(f.proofs))
	}
	first := claims(t, f.proofs[1])
	if first["htm"] != "POST" || first["htu"] != "http://"+env["OBO_STS_GRPC"]+"/obo.v1.ExchangeService/Exchange" || first["ath"] != nil {
		t.Errorf("proof at the token server: %v", first)
	}
	if got := obo(t, env, "", "tools", "--dpop-key", file); got.code != 0 || !strings.HasPrefix(f.authorization, "DPoP ") {
		t.Fatalf("exit %d, authorization %q: %s", got.code, f.authorization, got.err)
	}
	second := claims(t, f.proofs[len(f.proofs)-1])
	if second["htu"] != "http://"+env["OBO_EXECUTOR_GRPC"]+"/obo.v1.ExecutorService/ListTools" || second["ath"] == nil {
		t.Errorf("proof at the executor: %v", second)
	}
	_, a, err := jose.ParseProof(f.proofs[1])
	_, b, errB := jose.ParseProof(f.proofs[len(f.proofs)-1])
	if err != nil || errB != nil || a.Thumbprint() != b.Thumbprint() {
		t.Errorf("the key that was made was not used again: %v %v", err, errB)
	}
	if got := obo(t, env, "", "tools", "--dpop-key", file+".none"); got.code != explain.Failed {
		t.Errorf("a key that is not there was made to present a token: exit %d", got.code)
	}
}

func claims(t *testing.T, proof string) map[string]any {
	t.Helper()
	m, _, err := jose.ParseProof(proof)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(m.UnverifiedPayload(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTokenIntrospectAndRevoke(t *testing.T) {
	t.Parallel()
	f, env := environment(t)
	got := obo(t, env, "", "token", "introspect", "-o", "json")
	var answer map[string]any
	if err := json.Unmarshal([]byte(got.out), &answer); err != nil || answer["active"] != true {
		t.Errorf("%v: %s%s", err, got.out, got.err)
	}
	if got := obo(t, env, "", "token", "introspect", "--signed"); got.out != "signed.header.payload.signature\n" {
		t.Errorf("%q %s", got.out, got.err)
	}
	if got := obo(t, env, "", "token", "revoke"); got.code != 0 || f.revoked != "header.payload.signature" {
		t.Errorf("exit %d, revoked %q: %s", got.code, f.revoked, got.err)
	}
	unknown := obo(t, env, "", "token", "revoke", "--as", "nobody")
	if unknown.code != explain.Usage || !slices.Contains(strings.Fields(unknown.err), "OBO_NOBODY_ID") {
		t.Errorf("exit %d: %s", unknown.code, unknown.err)
	}
}
