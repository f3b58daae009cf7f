package oauthhttp

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/telemetry"
)

// form makes an endpoint of what does its work: POST only (TE1), a form as the body, errors as RFC 6749 section 5.2 has them.
func (d door) form(serve func(http.ResponseWriter, *http.Request, form) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(telemetry.WithTraceparent(r.Context(), r.Header.Get("Traceparent")))
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST, OPTIONS")
			d.answer(w, http.StatusMethodNotAllowed, failure{Error: "invalid_request", Description: "the endpoint takes POST only"})
			return
		}
		f, err := readForm(w, r)
		if err != nil {
			err = refuse(exchange.InvalidRequest, err.Error())
		} else {
			err = serve(w, r, f)
		}
		if err != nil {
			d.writeError(w, r, err)
		}
	}
}

// token is the token endpoint: find the credential, exchange, answer. Which grants there are, and whose, exchange decides
// (TE10, TE16).
func (d door) token(w http.ResponseWriter, r *http.Request, f form) error {
	if f.get("grant_type") == "" {
		return refuse(exchange.InvalidRequest, "grant_type is missing")
	}
	cred, err := d.credential(r, f, tokenPath)
	if err != nil {
		return err
	}
	req, err := request(f)
	if err != nil {
		return err
	}
	resp, err := d.cfg.Exchange.Exchange(r.Context(), cred, req)
	if err != nil {
		return err
	}
	if resp.Nonce != "" {
		w.Header().Set("DPoP-Nonce", resp.Nonce) // DP4: for the next proof
	}
	d.answer(w, http.StatusOK, success{
		AccessToken: resp.AccessToken, IssuedTokenType: resp.IssuedTokenType, TokenType: resp.TokenType,
		ExpiresIn: resp.ExpiresIn, Scope: resp.Scope, Details: json.RawMessage(resp.AuthorizationDetails), ActionID: resp.ActionID,
	})
	return nil
}

func request(f form) (exchange.Request, error) {
	req := exchange.Request{
		Grant: f.get("grant_type"), Assertion: f.get("assertion"),
		RequestContext: f.get("request_context"), RequestDetails: f.get("request_details"),
		SubjectToken: f.get("subject_token"), SubjectTokenType: f.get("subject_token_type"),
		ActorToken: f.get("actor_token"), ActorTokenType: f.get("actor_token_type"),
		Resource: f.resource, Audience: f.audience, Scope: f.get("scope"),
		RequestedTokenType:   f.get("requested_token_type"),
		AuthorizationDetails: f.get("authorization_details"),
		MayAct:               f.get("may_act"),
	}
	if text := f.get("requested_expires_in"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return exchange.Request{}, &exchange.Error{Reason: exchange.InvalidRequest, Field: "requested_expires_in",
				Description: "requested_expires_in must be a number of seconds"}
		}
		req.RequestedExpiresIn = int(n)
	}
	return req, nil
}

// success is RFC 8693 section 2.2.1, with our action id.
type success struct {
	AccessToken     string          `json:"access_token"`
	IssuedTokenType string          `json:"issued_token_type"`
	TokenType       string          `json:"token_type"`
	ExpiresIn       int             `json:"expires_in"`                      // always positive (TE14)
	Scope           string          `json:"scope"`                           // always there (TE13)
	Details         json.RawMessage `json:"authorization_details,omitempty"` // RA5
	ActionID        string          `json:"action_id"`
}

// failure is RFC 6749 section 5.2, and our action_id beside it.
type failure struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	ActionID    string `json:"action_id,omitempty"` // the trail has the refusal under it
}

// writeError renders an error. What is no *exchange.Error is a bug or the end of the caller's patience. A fault of ours is
// logged here with its cause, which is nobody else's business.
func (d door) writeError(w http.ResponseWriter, r *http.Request, err error) {
	d.writeErrorAs(w, r, err, 0)
}

// writeErrorAs is writeError with a status in place of the reason's own; 0 for none.
func (d door) writeErrorAs(w http.ResponseWriter, r *http.Request, err error, status int) {
	e, ok := errors.AsType[*exchange.Error](err)
	switch {
	case ok && e.Reason == exchange.Internal:
		e = &exchange.Error{Reason: exchange.Internal}
	case ok:
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e = &exchange.Error{Reason: exchange.DependencyUnavailable, Description: "not answered in time"}
	default:
		e = &exchange.Error{Reason: exchange.Internal}
	}
	if e.Reason == exchange.Internal || e.Reason == exchange.DependencyUnavailable {
		d.cfg.Log.ErrorContext(r.Context(), "call failed", "path", r.URL.Path, "error", err, "cause", errors.Unwrap(err),
			"trace_id", telemetry.TraceID(r.Context()))
	}
	if status == 0 {
		status = statusOf(e.Reason)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="obo", charset="UTF-8"`) // TE9
	}
	if e.Nonce != "" {
		w.Header().Set("DPoP-Nonce", e.Nonce) // DP4: one header
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests { // TE15
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(max(e.RetryAfter, time.Second).Seconds()))))
	}
	d.answer(w, status, failure{e.Reason.OAuth(), clean(e.Description), e.ActionID})
}

// statusOf is the HTTP column of standards GR3.
func statusOf(r exchange.Reason) int {
	switch r {
	case exchange.InvalidClient:
		return http.StatusUnauthorized
	case exchange.RateLimited:
		return http.StatusTooManyRequests
	case exchange.DependencyUnavailable:
		return http.StatusServiceUnavailable
	case exchange.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// answer writes JSON that no cache may keep (TE7, TE8).
func (d door) answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // strings and numbers only: cannot be
		d.cfg.Log.Error("internal error", "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	d.write(w, status, "application/json", body)
}

// write sends an answer that no cache may keep (TE7, IN8).
func (d door) write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // it may have gone away
}

// clean keeps what RFC 6749 section 5.2 allows in error_description: a hostile value that a refusal quotes breaks neither
// a log nor a header (TE8).
func clean(text string) string {
	const most = 512
	out := []byte(text[:min(len(text), most)])
	for i, c := range out {
		if c == '"' {
			out[i] = '\''
		} else if c < 0x20 || c > 0x7e || c == '\\' {
			out[i] = '?'
		}
	}
	return string(out)
}
