package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
)

type traceKey struct{}

// TraceID returns the trace id of the request, 32 lower-case hexadecimal digits, or "" when there is none.
func TraceID(ctx context.Context) string {
	id, _ := ctx.Value(traceKey{}).(string)
	return id
}

// WithTraceID returns a context that carries a trace id.
func WithTraceID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, traceKey{}, id)
}

// WithTraceparent returns a context that carries the trace id of a W3C traceparent header or gRPC metadata value
// (https://www.w3.org/TR/trace-context/ §3.2). An absent or malformed value gets a new trace id: a caller cannot put
// text of its choice into our logs, nor leave a request without an id.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	id, ok := ParseTraceparent(traceparent)
	if !ok {
		id = NewTraceID()
	}
	return WithTraceID(ctx, id)
}

// NewTraceID returns a random trace id.
func NewTraceID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// ParseTraceparent returns the trace id of a traceparent value: version, trace id, parent id and flags, all in lower-case
// hexadecimal. A version above 00 may be followed by more fields; version ff and ids of zeros are invalid.
func ParseTraceparent(s string) (id string, ok bool) {
	const (
		version = 2
		trace   = version + 1 + 32
		parent  = trace + 1 + 16
		flags   = parent + 1 + 2
	)
	if len(s) < flags || s[version] != '-' || s[trace] != '-' || s[parent] != '-' {
		return "", false
	}
	v, id, p, f := s[:version], s[version+1:trace], s[trace+1:parent], s[parent+1:flags]
	switch {
	case !lowerHex(v), !lowerHex(id), !lowerHex(p), !lowerHex(f), v == "ff":
		return "", false
	case v == "00" && len(s) != flags, len(s) > flags && s[flags] != '-':
		return "", false
	case strings.Trim(id, "0") == "", strings.Trim(p, "0") == "":
		return "", false
	}
	return id, true
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
