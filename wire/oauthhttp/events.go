package oauthhttp

import (
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/telemetry"
)

// eventType is the media type of a security event token (RFC 8935 section 2.1).
const eventType = "application/secevent+jwt"

// notTaken is RFC 8935 section 2.4.
type notTaken struct {
	Code        signals.Code `json:"err"`
	Description string       `json:"description"`
}

// events takes one security event token, which proves by itself whose it is (RFC 8935; SS4): 202 and nothing else when it is in
// force.
func (d door) events(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(telemetry.WithTraceparent(r.Context(), r.Header.Get("Traceparent")))
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		d.answer(w, http.StatusMethodNotAllowed, notTaken{signals.InvalidRequest, "the endpoint takes POST only"})
		return
	}
	token, err := readEvent(w, r)
	if err == nil {
		err = d.cfg.Events.TakeSignal(r.Context(), delegation.OrgID(r.PathValue("org")), r.PathValue("stream"), token)
	}
	refusal, refused := errors.AsType[*signals.Refusal](err)
	switch {
	case err == nil:
		w.WriteHeader(http.StatusAccepted)
	case refused:
		d.answer(w, http.StatusBadRequest, notTaken{refusal.Code, clean(refusal.Description)})
	default:
		d.sendAgain(w, r, err)
	}
}

// readEvent reads the body, which is the token and nothing else.
func readEvent(w http.ResponseWriter, r *http.Request) (string, error) {
	bad := func(text string) error { return &signals.Refusal{Code: signals.InvalidRequest, Description: text} }
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return "", bad("there are no parameters")
	}
	values := r.Header.Values("Content-Type")
	if len(values) != 1 {
		return "", bad("the body must be " + eventType)
	}
	if media, _, err := mime.ParseMediaType(values[0]); err != nil || media != eventType {
		return "", bad("the body must be " + eventType)
	}
	if r.Header.Get("Content-Encoding") != "" {
		return "", bad("the body must not be compressed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return "", bad(errTooLarge.Error())
		}
		return "", bad("the body did not arrive whole")
	}
	return string(body), nil
}

// sendAgain is the answer when something is away or there is too much to do: no code of RFC 8935, because the token may be good.
func (d door) sendAgain(w http.ResponseWriter, r *http.Request, err error) {
	status, wait := http.StatusServiceUnavailable, time.Second
	e, ok := errors.AsType[*exchange.Error](err)
	if ok {
		wait = max(e.RetryAfter, wait)
	}
	switch {
	case ok && e.Reason == exchange.RateLimited:
		status = http.StatusTooManyRequests
	case ok && e.Reason != exchange.DependencyUnavailable:
		status = http.StatusInternalServerError
		fallthrough
	default:
		d.cfg.Log.ErrorContext(r.Context(), "a security event was not taken", "path", r.URL.Path, "error", err,
			"cause", errors.Unwrap(err), "trace_id", telemetry.TraceID(r.Context()))
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	w.WriteHeader(status)
}
