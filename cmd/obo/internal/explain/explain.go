// Package explain turns any error into the three things a person needs: what happened, why, and what to do. It also gives
// each its exit code, so that a script can tell a refusal from an outage.
package explain

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/client"
)

// The exit codes.
const (
	OK          = 0   // done
	Failed      = 1   // something went wrong here
	Usage       = 2   // the command line is wrong
	Refused     = 3   // a server refused: credential, policy, or what was sent
	Unavailable = 4   // a server cannot be reached, or cannot answer now
	ToolError   = 5   // the call was made or tried, and the tool answered with an error
	Differs     = 6   // diff --exit-code found a difference
	Interrupted = 130 // Ctrl-C
)

// Problem is an error for a person.
type Problem struct {
	What   string `json:"what"`             // what happened
	Why    string `json:"why,omitempty"`    // the cause
	Do     string `json:"do,omitempty"`     // what to do about it
	Reason string `json:"reason,omitempty"` // the server's stable reason, such as INVALID_SCOPE
	OAuth  string `json:"oauth_error,omitempty"`
	Action string `json:"action_id,omitempty"` // under which the trail has it, when the server said so
	Code   int    `json:"exit_code"`
	cause  error
}

func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.What)
	if p.Why != "" {
		b.WriteString(": " + p.Why)
	}
	return b.String()
}

func (p *Problem) Unwrap() error { return p.cause }

// Failure is a problem of this machine.
func Failure(what string, cause error, do string) *Problem {
	p := &Problem{What: what, Do: do, Code: Failed, cause: cause}
	if cause != nil {
		p.Why = cause.Error()
		for _, pkg := range []string{"client: ", "delegation: ", "jose: "} { // whose error it is says a person nothing
			p.Why = strings.TrimPrefix(p.Why, pkg)
		}
	}
	return p
}

// Instead is the problem for the same reason, of something else.
func (p *Problem) Instead(what, do string) *Problem {
	out := *p
	out.What, out.Do = what, do
	return &out
}

// Misuse is a wrong command line.
func Misuse(what, why, do string) *Problem {
	return &Problem{What: what, Why: why, Do: do, Code: Usage}
}

// Of explains an error. An error that is a Problem already stays as it is; `what` names what was tried.
func Of(what string, err error) *Problem {
	if p := (*Problem)(nil); errors.As(err, &p) {
		return p
	}
	var own interface{ Explain(what string) *Problem }
	if errors.As(err, &own) {
		return own.Explain(what)
	}
	if errors.Is(err, context.Canceled) {
		return &Problem{What: what, Why: "interrupted", Code: Interrupted, cause: err}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Problem{What: what, Why: "no answer in time", Do: doUnavailable, Code: Unavailable, cause: err}
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		p := Failure(what, err, doUnavailable)
		p.Code = Unavailable
		return p
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return Failure(what, err, "check the path and its permissions")
	}
	if e := (*client.Error)(nil); errors.As(err, &e) {
		return ofHTTP(what, e)
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return ofStatus(what, s, err)
	}
	return Failure(what, err, "")
}

const doUnavailable = "check that the server runs and that its address is right (obo dev starts one; --env DIR/env points to it)"

// ofStatus reads the one ErrorInfo that our servers send (GR2, GR3).
func ofStatus(what string, s *status.Status, err error) *Problem {
	p := &Problem{What: what, Why: s.Message(), Code: Refused, cause: err}
	if quoted, ok := strings.CutPrefix(p.Why, "connection error: desc = "); ok { // gRPC's words around the cause
		p.Why = strings.TrimPrefix(strings.Trim(quoted, `"`), "transport: Error while dialing: ")
	}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			p.Reason = d.GetReason()
			p.OAuth = d.GetMetadata()["oauthError"]
			p.Action = d.GetMetadata()["actionId"]
		case *errdetails.RetryInfo:
			p.Do = fmt.Sprintf("try again in %s", d.GetRetryDelay().AsDuration())
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				if v.GetDescription() != "" && !strings.Contains(p.Why, v.GetDescription()) {
					p.Why += fmt.Sprintf(" (%s: %s)", v.GetField(), v.GetDescription())
				}
			}
		}
	}
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		p.Code = Unavailable
	case codes.Canceled:
		p.Code = Interrupted
	case codes.Internal, codes.DataLoss, codes.Unknown:
		p.Code = Failed
	default:
	}
	if p.Do == "" {
		p.Do = advice(p.Reason, s.Code())
	}
	p.pointToTrail(s.Code() == codes.PermissionDenied)
	return p
}

// ofHTTP reads a refusal of the standard's own door, which has OAuth's codes in place of our finer reasons.
func ofHTTP(what string, e *client.Error) *Problem {
	p := &Problem{What: what, Why: fmt.Sprintf("%s (HTTP %d)", e.Description, e.Status), OAuth: e.Code, Action: e.ActionID,
		Code: Refused, cause: e}
	switch {
	case e.Temporary() && e.RetryAfter > 0:
		p.Code, p.Do = Unavailable, fmt.Sprintf("try again in %s", e.RetryAfter)
	case e.Temporary():
		p.Code, p.Do = Unavailable, "try again in a moment"
	default:
		p.Do = advice(strings.ToUpper(e.Code), codes.OK)
	}
	p.pointToTrail(false)
	return p
}

// pointToTrail names the record of a refusal: when there is nothing better to do, or when a decision is behind it.
func (p *Problem) pointToTrail(decided bool) {
	switch {
	case p.Action == "" || p.Do != "" && !decided:
	case p.Do == "":
		p.Do = "obo audit show " + p.Action + " shows what was recorded of it"
	default:
		p.Do += "\nobo audit show " + p.Action + " shows the decision"
	}
}

// advice falls back on the status code when the reason is not ours.
func advice(reason string, code codes.Code) string {
	switch reason {
	case "INVALID_CLIENT":
		return "check the client id and its secret or key (obo agents secret ORG AGENT makes a new secret)"
	case "SUBJECT_TOKEN_INVALID":
		return "get a fresh subject token, and give --dpop-key when it is bound; obo token inspect shows what this one says"
	case "ACTOR_TOKEN_INVALID":
		return "make a fresh assertion: each is accepted once, and for at most 5 minutes"
	case "INVALID_SCOPE":
		return "ask for scopes that the subject token, the agent's registration and policy all allow"
	case "INVALID_TARGET":
		return "name one resource that the org registered (obo org show ORG lists them)"
	case "INSUFFICIENT_SCOPE":
		return "exchange for a token with the scope that the tool needs (obo tools lists them)"
	case "INVALID_TOKEN":
		return "exchange for a fresh token, and give --dpop-key when it is bound; obo token inspect shows what this one says"
	case "INVALID_REQUEST":
		return "correct what the reason names"
	case "INVALID_AUTHORIZATION_DETAILS":
		return "ask for details of types that the org and the agent are registered for, each within one of the subject token's"
	case "UNAUTHORIZED_CLIENT", "UNSUPPORTED_GRANT_TYPE":
		return "register the agent for the grant (grants in org.yaml), or use another (obo exchange --help)"
	case "INVALID_GRANT":
		return "get a fresh assertion of an issuer that the org trusts for jwt-bearer, made out to the token server's issuer"
	case "INVALID_DPOP_PROOF":
		return "send a proof of the key that the token is bound to (--dpop-key), and check this machine's clock"
	case "NOT_FOUND":
		return "check the name and --org: obo org show ORG, obo tools and obo connection list show what there is"
	case "CONFLICT":
		return "somebody else changed it meanwhile: look again (obo diff), then repeat"
	default:
	}
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded:
		return doUnavailable
	case codes.Unauthenticated:
		return "check the credential: obo login or --admin-token-file (OBO_ADMIN_TOKEN_FILE) for the admin API, --token-file for calls"
	case codes.Aborted:
		return "somebody else changed it meanwhile: look again, then repeat"
	case codes.Unimplemented:
		return "the server is older than this obo: update it"
	default:
		return ""
	}
}

// Write prints a problem: as three lines for a person, or as JSON.
func Write(w io.Writer, p *Problem, asJSON bool) {
	if asJSON {
		data, err := json.Marshal(map[string]*Problem{"error": p})
		if err == nil {
			fmt.Fprintln(w, string(data))
			return
		}
	}
	fmt.Fprintf(w, "obo: %s\n", p.What)
	if p.Why != "" {
		why := p.Why
		if reason := cmp.Or(p.Reason, p.OAuth); reason != "" {
			why += " [" + reason + "]"
		}
		fmt.Fprintf(w, "  why:  %s\n", indented(why))
	}
	if p.Do != "" {
		fmt.Fprintf(w, "  do:   %s\n", indented(p.Do))
	}
}

func indented(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n        ") }
