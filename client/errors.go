package client

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error is a refusal by the server (RFC 6749 §5.2), as a value to look at with errors.As. docs/ERRORS.md lists the codes and
// what to do about each.
type Error struct {
	Code        string        // "invalid_scope"; empty when the answer was none of OAuth
	Description string        // for people; printable ASCII, and never a token
	Status      int           // of HTTP
	RetryAfter  time.Duration // how long to wait before trying again; 0: not said
	ActionID    string        // under which the audit trail has the refusal; empty: it was not recorded
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("client: ")
	if e.Code != "" {
		b.WriteString(e.Code + ": ")
	}
	fmt.Fprintf(&b, "%s (HTTP %d", e.Description, e.Status)
	if e.ActionID != "" {
		b.WriteString(", action " + e.ActionID)
	}
	b.WriteString(")")
	return b.String()
}

// Temporary reports whether the very same request may succeed later: the server is busy or something is away.
func (e *Error) Temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status >= http.StatusInternalServerError
}

// nonceCode asks for a proof with a nonce (RFC 9449 §8).
const nonceCode = "use_dpop_nonce"

var (
	errTooLarge = errors.New("client: the answer is larger than 262144 bytes")
	errNoLife   = errors.New("client: the answer names no positive expires_in, so nobody can know how long the token is good")
	errBearer   = errors.New("client: a token bound to the DPoP key was asked for, and the server answered with one that is not")
)

// refusal reads an answer that is no success.
func refusal(resp *http.Response, body []byte, now time.Time) *Error {
	e := &Error{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), now)}
	var a struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		ActionID    string `json:"action_id"`
	}
	if err := decode(body, &a); err != nil || a.Error == "" {
		e.Description = "the server answered " + printable(resp.Status) + ", and not with an OAuth error"
		return e
	}
	e.Code, e.Description, e.ActionID = printable(a.Error), printable(a.Description), printable(a.ActionID)
	return e
}

// maxRetryAfter bounds what a server can make its clients wait.
const maxRetryAfter = 5 * time.Minute

// retryAfter reads the header in either form (RFC 9110 §10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	var d time.Duration
	if seconds, err := strconv.Atoi(value); err == nil {
		d = time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// printable keeps the characters of RFC 6749 §5.2 and not too many of them: the text comes from outside and ends up in logs.
func printable(s string) string {
	const most = 512
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s[:min(len(s), most)])
}
