package main

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// rotating is an executor that tells of a rotation.
type rotating struct {
	obov1.UnimplementedExecutorAdminServiceServer
}

func (rotating) RotateDataKey(r *obov1.RotateDataKeyRequest, out grpc.ServerStreamingServer[obov1.RotateDataKeyResponse]) error {
	if r.GetOrgId() == "empty" {
		return out.Send(&obov1.RotateDataKeyResponse{Complete: true})
	}
	_ = out.Send(&obov1.RotateDataKeyResponse{Total: 150})
	_ = out.Send(&obov1.RotateDataKeyResponse{Done: 100, Total: 150})
	change := &obov1.Change{Path: "data_key", Kind: "changed", Before: `["00000001"]`, After: `["00000002"]`}
	return out.Send(&obov1.RotateDataKeyResponse{Done: 150, Total: 150, Complete: !r.GetDryRun(), Changes: []*obov1.Change{change}})
}

// TestVaultRotate: progress is for people, on standard error; the result is what a program reads.
func TestVaultRotate(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	obov1.RegisterExecutorAdminServiceServer(s, rotating{})
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	_, env := environment(t)
	env = with(env, "OBO_EXECUTOR_GRPC", l.Addr().String())
	for args, want := range map[string]string{
		"vault rotate acme":           "150 credentials of acme are sealed with a new key",
		"vault rotate acme -o json":   `"complete": true`,
		"vault rotate acme --dry-run": "would seal again 0 credentials",
		"vault rotate empty":          "nothing to rotate",
	} {
		got := obo(t, env, "", strings.Fields(args)...)
		wet := strings.Contains(args, "acme") && !strings.Contains(args, "dry")
		if got.code != explain.OK || !strings.Contains(got.out, want) || strings.Contains(got.err, "sealed again: 100 of 150\n") != wet {
			t.Errorf("%s: exit %d: %s%s", args, got.code, got.out, got.err)
		}
	}
}

// TestShredWantsTheName: nothing but the org's own name, typed at a terminal, destroys its credentials.
func TestShredWantsTheName(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]bool{"acme\n": true, "yes\n": false, "\n": false, "acm\n": false, "": false} {
		var asked bytes.Buffer
		a := &app{in: strings.NewReader(typed), terminal: true, err: &asked}
		if a.types("acme") != want || !strings.Contains(asked.String(), "acme") {
			t.Errorf("%q: %v", typed, !want)
		}
	}
	if (&app{in: strings.NewReader("acme\n")}).types("acme") {
		t.Error("confirmed where nobody sits")
	}
}
