//go:build awskms

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/seal/awskms/awskmstest"
)

// TestKeyService: an executor whose key file is encrypted asks the service once when it starts and once at a reload, and not for what it
// seals and opens; it goes on while the service is away.
func TestKeyService(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	service := awskmstest.Start(t)
	fragment := filepath.Join(t.TempDir(), "encryption.yaml")
	must(t, os.WriteFile(fragment, fmt.Appendf(nil,
		"key_encryption:\n  source: awskms\n  key: %s\n  awskms: {region: eu-central-1, endpoint: %q}\n", service.Add(t, "1"), service.URL), 0o600))
	asked := make(chan os.Signal, 1)
	p, operator := startUnder(t, newSTS(t, bundles{}), fragment, asked)
	conn, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close()
	admin, ctx := obov1.NewExecutorAdminServiceClient(conn), bearer(t.Context(), operator)
	put := func() error {
		_, err := admin.PutConnection(ctx, &obov1.PutConnectionRequest{OrgId: "acme", Connection: "ci", Provider: "github",
			Pattern: "developer_secret", Secret: "canary-credential"}, grpc.WaitForReady(true))
		return err
	}
	must(t, put())
	if n := service.Calls(); n != 2 {
		t.Errorf("%d calls for init, a start and a credential; want 2", n)
	}
	asked <- syscall.SIGHUP
	eventually(t, "a reload", func() bool { return strings.Contains(p.log.text(), "configuration reloaded") })
	if n := service.Calls(); n != 3 {
		t.Errorf("%d calls after a reload, want 3", n)
	}
	service.Refuse("AccessDeniedException")
	asked <- syscall.SIGHUP
	eventually(t, "a refused reload", func() bool { return strings.Contains(p.log.text(), "was not reloaded") })
	must(t, put())
	p.end()
	if err := <-p.done; err != nil {
		t.Error(err)
	}
}
