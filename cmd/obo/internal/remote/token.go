package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/telemetry"
)

// Metadata is the part of RFC 8414's document that a client of ours reads.
type Metadata struct {
	Issuer        string `json:"issuer"`
	TokenEndpoint string `json:"token_endpoint"`
	JWKSURI       string `json:"jwks_uri"`
}

// HTTP is the client for the standard's own door.
type HTTP struct {
	client *http.Client
}

// NewHTTP makes a client that keeps up to idle connections.
func NewHTTP(idle int) *HTTP {
	return &HTTP{client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		MaxIdleConns: idle, MaxIdleConnsPerHost: idle, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}}}
}

// Metadata reads the authorization server's metadata, which must name the issuer that was asked (RFC 8414 section 3.3).
func (h *HTTP) Metadata(ctx context.Context, issuer string) (Metadata, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return Metadata{}, fmt.Errorf("issuer %q is no URL: %w", issuer, err)
	}
	path := strings.TrimSuffix(u.Path, "/")
	u.Path = "/.well-known/oauth-authorization-server" + path
	var m Metadata
	if err := h.get(ctx, u.String(), &m); err != nil {
		return Metadata{}, err
	}
	if m.Issuer != issuer {
		return Metadata{}, fmt.Errorf("the metadata at %s is of issuer %q, not of %q", u, m.Issuer, issuer)
	}
	return m, nil
}

func (h *HTTP) get(ctx context.Context, address string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", address, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(v)
}

// Form is a request as the form that RFC 8693 section 2.1 asks for.
func Form(r *obov1.ExchangeRequest) url.Values {
	form := url.Values{"grant_type": {GrantType}}
	for name, value := range map[string]string{
		"subject_token": r.GetSubjectToken(), "subject_token_type": r.GetSubjectTokenType(),
		"actor_token": r.GetActorToken(), "actor_token_type": r.GetActorTokenType(),
		"scope": r.GetScope(), "requested_token_type": r.GetRequestedTokenType(),
		"authorization_details": r.GetAuthorizationDetails(), "may_act": r.GetMayAct(),
	} {
		if value != "" {
			form.Set(name, value)
		}
	}
	if r.GetRequestedExpiresIn() > 0 {
		form.Set("requested_expires_in", strconv.Itoa(int(r.GetRequestedExpiresIn())))
	}
	form["resource"] = r.GetResource()
	form["audience"] = r.GetAudience()
	return form
}

// OAuthError is a refusal of the token endpoint (RFC 6749 section 5.2).
type OAuthError struct {
	Status      int
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (e *OAuthError) Error() string {
	return fmt.Sprintf("%s: %s (HTTP %d)", e.Code, e.Description, e.Status)
}

// Explain says what a refusal of the token endpoint means.
func (e *OAuthError) Explain(what string) *explain.Problem {
	p := &explain.Problem{What: what, Why: e.Error(), OAuth: e.Code, Code: explain.Refused}
	switch {
	case e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests:
		p.Code, p.Do = explain.Unavailable, "try again in a moment"
	case e.Code == "invalid_client":
		p.Do = explain.Advice("INVALID_CLIENT")
	case e.Code == "invalid_scope":
		p.Do = explain.Advice("INVALID_SCOPE")
	case e.Code == "invalid_target":
		p.Do = explain.Advice("INVALID_TARGET")
	default:
		p.Do = "obo audit list shows the decision and its policies"
	}
	return p
}

// tokenResponse is RFC 8693 section 2.2.1 as the endpoint sends it.
type tokenResponse struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int32  `json:"expires_in"`
	Scope           string `json:"scope"`
	ActionID        string `json:"action_id"`
}

// Exchange posts the form to a token endpoint, the client authenticated by its secret.
func (h *HTTP) Exchange(ctx context.Context, endpoint, clientID string, secret telemetry.Secret, form url.Values) (
	*obov1.ExchangeResponse, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Basic "+basic(clientID, secret))
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		refusal := &OAuthError{Status: resp.StatusCode}
		if json.Unmarshal(body, refusal) != nil || refusal.Code == "" {
			return nil, fmt.Errorf("the token endpoint answered %s", resp.Status)
		}
		return nil, refusal
	}
	var t tokenResponse
	if err := json.Unmarshal(body, &t); err != nil {
		return nil, fmt.Errorf("the token endpoint's answer is no JSON: %w", err)
	}
	return &obov1.ExchangeResponse{AccessToken: t.AccessToken, IssuedTokenType: t.IssuedTokenType, TokenType: t.TokenType,
		ExpiresIn: t.ExpiresIn, Scope: t.Scope, ActionId: t.ActionID}, nil
}
