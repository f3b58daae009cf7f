package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

// NewLogger returns a logger that writes one line an event to w, as "text" or, for any other format, as JSON. A *slog.LevelVar
// as the level can be changed while the logger is in use. Whatever the
// caller passes, values that look like a token, a credential or a protobuf message do not come out: it is the second net
// behind Secret, for the error text of a library that quotes its input.
func NewLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		a.Value = clean(a.Value)
		return a
	}}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// clean returns a value without secrets. A value of a type that it does not know is printed first, because what the
// handler would make of it (JSON of its fields) cannot be searched.
func clean(v slog.Value) slog.Value {
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(Redact(v.String()))
	case slog.KindAny:
		switch x := v.Any().(type) {
		case nil, slog.Level, *slog.Source:
			return v
		case interface{ ProtoMessage() }:
			// debug_redact is ignored by Go: a printed request shows its subject_token.
			return slog.StringValue("[message withheld]")
		case []byte:
			return slog.StringValue(Redact(string(x)))
		default:
			return slog.StringValue(Redact(fmt.Sprintf("%+v", x)))
		}
	default:
		return v
	}
}

// secrets are the shapes of what must not come out. A pattern is tried only where one of its hints stands: a search for a
// fixed string costs nanoseconds, a regular expression microseconds, and almost every text has no hint.
var secrets = []struct {
	hints   []string
	pattern *regexp.Regexp
	with    string
}{
	{ // A JWS, a JWE or a piece of one: "eyJ" is base64url for `{"`.
		[]string{"eyJ"}, regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}`), Redacted,
	},
	{ // An Authorization value.
		[]string{"earer ", "EARER ", "asic ", "ASIC ", "DPoP ", "dpop ", "DPOP "},
		regexp.MustCompile(`(?i)\b(bearer|basic|dpop) +[A-Za-z0-9._~+/=-]{6,}`), "$1 " + Redacted,
	},
	{ // A form or query parameter of the token endpoint, or a key=value of a connection string.
		[]string{"="}, regexp.MustCompile(`(?i)\b(client_secret|client_assertion|subject_token|actor_token|access_token|refresh_token|` +
			`id_token|code_verifier|password|passwd|secret|token|api_key|assertion)=[^&\s"']+`), "$1=" + Redacted,
	},
	{ // An authorization code on its way back. Only as a query parameter: "code=Unavailable" is how gRPC speaks.
		[]string{"code="}, regexp.MustCompile(`([?&]code)=[^&\s"']+`), "$1=" + Redacted,
	},
	{ // The password of a URL.
		[]string{"@"}, regexp.MustCompile(`(://[^/\s:@]*):[^/\s@]+@`), "$1:" + Redacted + "@",
	},
	{ // Credentials of providers that say what they are.
		[]string{"ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "xox", "ya29."},
		regexp.MustCompile(`\b(?:gh[posur]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|xox[a-z]-[A-Za-z0-9-]{8,}|` +
			`ya29\.[A-Za-z0-9_-]{8,})`), Redacted,
	},
}

// Redact returns s with everything that looks like a token or a credential replaced. It errs towards replacing.
func Redact(s string) string {
	for _, p := range secrets {
		if slices.ContainsFunc(p.hints, func(hint string) bool { return strings.Contains(s, hint) }) {
			s = p.pattern.ReplaceAllString(s, p.with)
		}
	}
	return s
}
