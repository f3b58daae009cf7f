//go:build slow

package e2e_test

import (
	"testing"

	"github.com/onbehalf/obo/store/storetest/pgtest"
)

// TestRollingRestart: GR8. One replica after the other is restarted under load, and no exchange fails, over either door.
func TestRollingRestart(t *testing.T) {
	w := newWorld(t, options{stsStore: pgtest.DSN(t), replica: true, noExecutor: true, sts: "drain: {delay: 2s}\n"})
	w.apply(t, "acme")
	l := w.startLoad(t)
	l.more(t, 50)
	for _, r := range []struct {
		p    *process
		grpc string
	}{{w.sts, w.stsAddr}, {w.second, w.address2}, {w.sts, w.stsAddr}} {
		r.p.stop(t)
		l.more(t, 50)
		r.p.start(t)
		r.p.await(t, r.grpc)
		l.more(t, 50)
	}
	l.report(t)
}
