package grpcerr_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/onbehalf/obo/wire/grpcerr"
)

var update = flag.Bool("update", false, "write the golden files again; a difference is a change of protocol")

// TestGR3Golden: GR3, every reason's code, OAuth code and details, with and without a field at fault.
func TestGR3Golden(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, r := range grpcerr.Reasons() {
		for _, field := range []string{"", "subject_token"} {
			e := grpcerr.Error{Reason: r, Description: "what is wrong", Field: field, RetryAfter: 2 * time.Second}
			fmt.Fprintf(&b, "%s field=%q\n%s\n", r, field, describe(status.Convert(e)))
		}
	}
	const golden = "testdata/errors.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("errors changed (-want +got):\n%s", diff)
	}
}

func describe(s *status.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s %q\n", s.Code(), s.Message())
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			fmt.Fprintf(&b, "  ErrorInfo %s %s %v\n", d.GetDomain(), d.GetReason(), d.GetMetadata())
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				fmt.Fprintf(&b, "  BadRequest %s: %q\n", v.GetField(), v.GetDescription())
			}
		case *errdetails.QuotaFailure:
			fmt.Fprintf(&b, "  QuotaFailure %v\n", d.GetViolations()[0].GetSubject())
		case *errdetails.PreconditionFailure:
			fmt.Fprintf(&b, "  PreconditionFailure %v of %v\n", d.GetViolations()[0].GetType(), d.GetViolations()[0].GetSubject())
		case *errdetails.RetryInfo:
			fmt.Fprintf(&b, "  RetryInfo %s\n", d.GetRetryDelay().AsDuration())
		}
	}
	return b.String()
}

// TestGR2Details: GR2 and GR10, exactly one ErrorInfo, each detail type once, a well-formed reason, at most 8 KiB (GR10), and clean text,
// whatever a door puts in.
func TestGR2Details(t *testing.T) {
	t.Parallel()
	reason := regexp.MustCompile(`^[A-Z][A-Z0-9_]+[A-Z0-9]$`)
	clean := regexp.MustCompile(`^[\x20-\x21\x23-\x5b\x5d-\x7e]*$`)
	rapid.Check(t, func(t *rapid.T) {
		e := grpcerr.Error{
			Reason:      rapid.SampledFrom(append(grpcerr.Reasons(), "NO_SUCH_REASON")).Draw(t, "reason"),
			Description: rapid.StringN(0, 2000, -1).Draw(t, "description"),
			Field:       rapid.StringN(0, 300, -1).Draw(t, "field"),
			RetryAfter:  time.Duration(rapid.IntRange(-5, 5).Draw(t, "retry")) * time.Second,
		}
		for range rapid.IntRange(0, 40).Draw(t, "violations") {
			e.Violations = append(e.Violations, grpcerr.Violation{
				Field: rapid.StringN(0, 300, -1).Draw(t, "path"), Description: rapid.StringN(0, 600, -1).Draw(t, "why"),
			})
		}
		s := status.Convert(e)
		if s.Code() == codes.OK || s.Code() == codes.Unknown {
			t.Fatalf("code %s", s.Code())
		}
		if !clean.MatchString(s.Message()) {
			t.Fatalf("message %q is not clean (TE8)", s.Message())
		}
		seen := map[string]int{}
		for _, d := range s.Details() {
			seen[fmt.Sprintf("%T", d)]++
			if info, ok := d.(*errdetails.ErrorInfo); ok {
				if info.GetDomain() != grpcerr.Domain || !reason.MatchString(info.GetReason()) || info.GetMetadata()[grpcerr.OAuthKey] == "" {
					t.Fatalf("ErrorInfo %v", info)
				}
			}
		}
		if seen["*errdetails.ErrorInfo"] != 1 {
			t.Fatalf("details %v: want exactly one ErrorInfo", seen)
		}
		for kind, n := range seen {
			if n > 1 {
				t.Fatalf("%d of %s", n, kind)
			}
		}
		if size := proto.Size(s.Proto()); size > 8<<10 {
			t.Fatalf("%d bytes of status (GR10)", size)
		}
	})
}

func TestFrom(t *testing.T) {
	t.Parallel()
	secret := errors.New("dial tcp 10.0.0.7:5432: password eyJhbGciOi")
	cases := []struct {
		name  string
		err   error
		code  codes.Code
		fault bool
	}{
		{"GR1 a bug is INTERNAL", secret, codes.Internal, true},
		{"a foreign status is a bug", status.Error(codes.NotFound, secret.Error()), codes.Internal, true},
		{"an error of ours, wrapped", fmt.Errorf("door: %w", grpcerr.Error{Reason: grpcerr.InvalidScope}), codes.PermissionDenied, false},
		{"a dependency that is away is logged", grpcerr.Error{Reason: grpcerr.DependencyUnavailable, Cause: secret}, codes.Unavailable, true},
		{"an internal error shows nothing", grpcerr.Error{Reason: grpcerr.InternalError, Description: secret.Error()}, codes.Internal, true},
		{"the caller cancelled", fmt.Errorf("sign: %w", context.Canceled), codes.Canceled, false},
		{"GR7 the deadline passed", context.DeadlineExceeded, codes.DeadlineExceeded, false},
		{"GR5 grpc-go's own", status.Error(codes.ResourceExhausted, "message too big"), codes.ResourceExhausted, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, fault := grpcerr.From(c.err)
			s := status.Convert(got)
			if s.Code() != c.code || fault != c.fault {
				t.Errorf("got %s, fault %v; want %s, %v", s.Code(), fault, c.code, c.fault)
			}
			if text := fmt.Sprint(s.Message(), s.Details()); strings.Contains(text, "password") {
				t.Errorf("the client is told %q", text)
			}
		})
	}
	if err, _ := grpcerr.From(nil); err != nil {
		t.Errorf("From(nil) = %v", err)
	}
}

func TestTE8Clean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                   "plain",
		"say \"x\"\r\nSet-Cookie": "say 'x'??Set-Cookie",
		`back\slash`:              "back?slash",
		"\x00\x1b[31m\x7f":        "??[31m?",
		"é":                       "??",
	} {
		if got := grpcerr.Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := grpcerr.Clean(strings.Repeat("x", 10<<20)); len(got) > 512 {
		t.Errorf("10 MiB of text became %d bytes", len(got))
	}
}
