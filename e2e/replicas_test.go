package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

// TestReplicasShareWhatIsUsedOnce: CA3, DP3, DP4. Of two replicas on one PostgreSQL, what one has accepted the other refuses,
// and a nonce of one is good at the other.
func TestReplicasShareWhatIsUsedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{stsStore: pgtest.DSN(t), replica: true, noExecutor: true, sts: "dpop: {require_nonce: true}\n"})
	w.apply(t, "acme")
	id := "acme.orchestrator"
	subject := w.idp.idToken(t, "acme")
	base := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {subject}, "subject_token_type": {typeIDToken},
		"resource": {audience}, "scope": {"tracker:issues:read"},
	}
	both := []string{w.issuer, w.replica}

	t.Run("a client assertion", func(t *testing.T) {
		form := with(base, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", w.assertion(t, id))
		if got := post(t, both[0]+"/token", form, ""); got.status != http.StatusOK {
			t.Fatalf("the first replica: %+v", got)
		}
		if got := post(t, both[1]+"/token", form, ""); got.Error != "invalid_client" || !strings.Contains(got.Description, "used before") {
			t.Errorf("the second replica: %+v", got)
		}
	})
	t.Run("an actor assertion", func(t *testing.T) {
		secret := []string{"client_id", id, "client_secret", w.secrets[id]}
		token := post(t, both[0]+"/token", with(base, secret...), "").AccessToken
		form := with(base, append(secret, "subject_token", token, "subject_token_type", typeAccessToken,
			"actor_token", w.assertion(t, "acme.researcher"), "actor_token_type", typeJWT)...)
		if got := post(t, both[1]+"/token", form, ""); got.status != http.StatusOK {
			t.Fatalf("the second replica: %+v", got)
		}
		if got := post(t, both[0]+"/token", form, ""); got.Error != "invalid_request" || !strings.Contains(got.Description, "used before") {
			t.Errorf("the first replica: %+v", got)
		}
	})
	t.Run("a proof and its nonce", func(t *testing.T) {
		form := with(base, "client_id", id, "client_secret", w.secrets[id])
		key, err := jose.Generate(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		prover, err := dpop.NewProver(key, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		prove := func(nonce string) string {
			proof, err := prover.Proof(http.MethodPost, w.issuer+"/token", nonce, "")
			if err != nil {
				t.Fatal(err)
			}
			return proof
		}
		asked := post(t, both[0]+"/token", form, prove(""))
		if asked.Error != "use_dpop_nonce" || asked.nonce == "" {
			t.Fatalf("without a nonce: %+v", asked)
		}
		proof := prove(asked.nonce)
		if got := post(t, both[1]+"/token", form, proof); got.status != http.StatusOK || got.TokenType != "DPoP" {
			t.Fatalf("the second replica: %+v", got)
		}
		if got := post(t, both[0]+"/token", form, proof); got.Error != "invalid_dpop_proof" {
			t.Errorf("the first replica: %+v", got)
		}
	})
}

// with is a copy of a form with other values for some names.
func with(form url.Values, pairs ...string) url.Values {
	out := url.Values{}
	for name, values := range form {
		out[name] = values
	}
	for i := 0; i < len(pairs); i += 2 {
		out.Set(pairs[i], pairs[i+1])
	}
	return out
}

// tokenAnswer is the token endpoint's, good or bad.
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
	status      int
	nonce       string
}

func post(t *testing.T, endpoint string, form url.Values, proof string) tokenAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := tokenAnswer{status: res.StatusCode, nonce: res.Header.Get("DPoP-Nonce")}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	return got
}
