package explain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func refused(t *testing.T, code codes.Code, reason string) error {
	t.Helper()
	s, err := status.New(code, "scope is wider").WithDetails(&errdetails.ErrorInfo{
		Reason: reason, Domain: "obo.dev", Metadata: map[string]string{"oauthError": "invalid_scope"}})
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

func TestExitCodesTellARefusalFromAnOutage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		code int
	}{
		"GR3 refused by policy":  {refused(t, codes.PermissionDenied, "INVALID_SCOPE"), Refused},
		"GR3 caller unknown":     {refused(t, codes.Unauthenticated, "INVALID_CLIENT"), Refused},
		"GR3 bad field":          {refused(t, codes.InvalidArgument, "INVALID_REQUEST"), Refused},
		"GR3 conflict":           {refused(t, codes.Aborted, "CONFLICT"), Refused},
		"GR3 dependency down":    {refused(t, codes.Unavailable, "DEPENDENCY_UNAVAILABLE"), Unavailable},
		"GR3 throttled":          {refused(t, codes.ResourceExhausted, "RATE_LIMITED"), Unavailable},
		"GR5 not reached":        {status.Error(codes.Unavailable, "connection refused"), Unavailable},
		"GR3 bug in the server":  {refused(t, codes.Internal, "INTERNAL_ERROR"), Failed},
		"deadline of our own":    {fmt.Errorf("x: %w", context.DeadlineExceeded), Unavailable},
		"Ctrl-C":                 {context.Canceled, Interrupted},
		"missing file":           {fs.ErrNotExist, Failed},
		"anything else":          {errors.New("boom"), Failed},
		"a problem stays itself": {fmt.Errorf("x: %w", Misuse("a", "b", "c")), Usage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p := Of("cannot do it", c.err); p.Code != c.code {
				t.Fatalf("exit code %d, want %d (%v)", p.Code, c.code, p)
			}
		})
	}
}

func TestEveryErrorSaysWhatWhyAndWhatToDo(t *testing.T) {
	t.Parallel()
	p := Of("cannot get a token", refused(t, codes.PermissionDenied, "INVALID_SCOPE"))
	var text, doc bytes.Buffer
	Write(&text, p, false)
	for _, want := range []string{"obo: cannot get a token", "why:", "scope is wider [INVALID_SCOPE]", "do:"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("text lacks %q:\n%s", want, text.String())
		}
	}
	Write(&doc, p, true)
	var got struct{ Error Problem }
	if err := json.Unmarshal(doc.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Error.Reason != "INVALID_SCOPE" || got.Error.OAuth != "invalid_scope" || got.Error.Code != Refused {
		t.Errorf("JSON lost something: %+v", got.Error)
	}
}
