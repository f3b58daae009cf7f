package sample

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// IDTokenLife is how long an ID token is good for.
const IDTokenLife = time.Hour

// IssuerConfig makes an issuer.
type IssuerConfig struct {
	URL       string           // its issuer identifier, where it listens
	MintToken telemetry.Secret // who presents it may sign anybody in
	Now       func() time.Time
}

// Issuer is a small OpenID provider: discovery, keys, the authorization code flow for one public client, and a mint for scripts. It
// is multi-tenant, as many real ones are: one issuer and one key for all orgs, the org in a claim of its own (`tenant`).
type Issuer struct {
	config IssuerConfig
	signer jose.Signer
	authorizer[signIn]
}

// NewIssuer makes an issuer with a new RS256 key, the algorithm that every OpenID provider has.
func NewIssuer(c IssuerConfig) (*Issuer, error) {
	if c.URL == "" || c.MintToken == "" || c.Now == nil {
		return nil, fmt.Errorf("sample: an issuer needs URL, MintToken and Now")
	}
	key, err := jose.Generate(jose.RS256)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(uuid.NewString(), jose.RS256, key)
	if err != nil {
		return nil, err
	}
	return &Issuer{config: c, signer: signer, authorizer: authorizer[signIn]{url: c.URL, codes: map[string]pending[signIn]{}, clients: map[string]string{
		AdminClient: "http://127.0.0.1/callback", PagesClient: "http://127.0.0.1/connect/callback",
	}}}, nil
}

// Handler serves all of it.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{
			"issuer": i.config.URL, "jwks_uri": i.config.URL + "/jwks",
			"authorization_endpoint": i.config.URL + "/authorize", "token_endpoint": i.config.URL + "/token",
			"response_types_supported": []string{"code"}, "grant_types_supported": []string{"authorization_code"},
			"code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"none"},
			"authorization_response_iss_parameter_supported": true, "scopes_supported": []string{"openid"},
			"subject_types_supported":               []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(jose.NewKeySet(i.signer.Key()).JSON())
	})
	mux.HandleFunc("GET /authorize", i.ask)
	mux.HandleFunc("POST /authorize", i.decide)
	mux.HandleFunc("POST /token", i.token)
	mux.HandleFunc("POST /mint", i.mint)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	return mux
}

// MintRequest signs somebody in.
type MintRequest struct {
	User     string `json:"user"`
	Org      string `json:"org"`
	Audience string `json:"audience,omitempty"` // absent: the sample application
}

func (i *Issuer) mint(w http.ResponseWriter, r *http.Request) {
	if !same(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), i.config.MintToken) {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "the mint token is missing or wrong"})
		return
	}
	var m MintRequest
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "the request is not the JSON that the mint reads"})
		return
	}
	person, ok := Find(m.User, m.Org)
	if !ok {
		answer(w, http.StatusNotFound, map[string]string{"error": "no such person; there are " + Known()})
		return
	}
	token, err := i.idToken(person, m.Audience, "")
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": "cannot sign"})
		return
	}
	answer(w, http.StatusOK, map[string]string{"id_token": token})
}

// idToken is an ID token as OpenID Connect Core section 2 has it, with the org and the groups as claims.
func (i *Issuer) idToken(p Person, audience, nonce string) (string, error) {
	if audience == "" {
		audience = Audience
	}
	now := i.config.Now()
	claims := map[string]any{
		"iss": i.config.URL, "sub": p.Subject, "aud": audience, "tenant": p.Org, "groups": p.Groups,
		"iat": now.Unix(), "exp": now.Add(IDTokenLife).Unix(), "auth_time": now.Unix(), "sid": uuid.NewString(),
		"jti": uuid.NewString(), "acr": "urn:obo:sample:password", "amr": []string{"pwd"},
		"preferred_username": p.Name,
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return i.signer.Sign("JWT", payload)
}

// same compares in constant time.
func same(got string, want telemetry.Secret) bool {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
