//go:build slow

package e2e_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

// previous is the version that is upgraded from: the last release's commit.
const previous = "e1dfac9e005878d592652af459a9b0a920092282"

// buildPrevious builds obo-sts of the version before from this repository's history.
func buildPrevious(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script := `set -euo pipefail
git -C .. archive "$1" | tar -x -C "$2"
cd "$2" && go build -o "$2/bin/" ./cmd/obo-sts`
	if out, err := exec.Command("bash", "-c", script, "bash", previous, dir).CombinedOutput(); err != nil {
		t.Fatalf("cannot build version %s: %v: %s (a shallow clone has no history: git fetch --unshallow)", previous, err, out)
	}
	return filepath.Join(dir, "bin", "obo-sts")
}

// TestUpgrade: replicas of the version before are replaced one by one under load. The new version migrates the schema, and the one
// before serves from it: no exchange fails, tokens of either are good at the other, and a revocation at either holds at both.
func TestUpgrade(t *testing.T) {
	w := newWorld(t, options{stsStore: pgtest.DSN(t), replica: true, noExecutor: true, stsBinary: buildPrevious(t)})
	w.apply(t, "acme")
	l := w.startLoad(t)
	l.more(t, 50)
	fresh := filepath.Join(binaries, "obo-sts")
	old := w.sts.binary

	w.replace(t, l, 1, fresh)
	w.agree(t, "the version before and the new one")
	l.more(t, 50)
	w.replace(t, l, 0, old) // should the one before have to start again, then on the new schema
	w.agree(t, "the version before, started on the new schema")

	w.replace(t, l, 0, fresh)
	w.agree(t, "the new version")
	w.replace(t, l, 1, old) // the way back, until a migration contracts
	w.agree(t, "after a way back")
	w.replace(t, l, 1, fresh)
	l.more(t, 50)
	l.report(t)
}

// replace stops a replica and starts it with another binary. The load balancer is told first: a version may not know drain.delay.
func (w *world) replace(t *testing.T, l *load, replica int, binary string) {
	t.Helper()
	p, address := w.sts, w.stsAddr
	if replica == 1 {
		p, address = w.second, w.address2
	}
	l.spread.out[replica].Store(true)
	time.Sleep(probeEvery) // what is on its way arrives
	p.stop(t)
	p.binary = binary
	p.start(t)
	p.await(t, address)
	l.spread.out[replica].Store(false)
	l.more(t, 30)
}

// agree: what one replica signs the other takes, and what one revokes the other refuses.
func (w *world) agree(t *testing.T, when string) {
	t.Helper()
	addresses := []string{w.stsAddr, w.address2}
	for i, address := range addresses {
		here := obov1.NewExchangeServiceClient(dial(t, address))
		there := obov1.NewExchangeServiceClient(dial(t, addresses[1-i]))
		first, err := w.first(t.Context(), here, "acme", w.idp.idToken(t, "acme"), "tracker:issues:read")
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if _, err := w.delegate(t.Context(), t, there, "acme", first.GetAccessToken(), "tracker:issues:read"); err != nil {
			t.Errorf("%s: a token of one replica at the other: %v", when, err)
		}
		jti := claimsOf(t, first.GetAccessToken())["jti"].(string)
		revoke := &obov1.RevokeRequest{OrgId: "acme", Kind: "token", Id: jti}
		if _, err := obov1.NewAdminServiceClient(dial(t, address)).Revoke(bearer(t.Context(), w.admin), revoke); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		refused := func() bool {
			_, err := w.delegate(t.Context(), t, there, "acme", first.GetAccessToken(), "tracker:issues:read")
			if code := status.Code(err); code != codes.OK && code != codes.InvalidArgument && code != codes.PermissionDenied {
				t.Fatalf("%s: %v", when, err)
			}
			return err != nil
		}
		for deadline := time.Now().Add(5 * time.Second); !refused(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: a revocation at one replica does not hold at the other after 5 s", when)
			}
		}
	}
}
