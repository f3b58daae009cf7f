package load

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// Fresh are what each request needs anew, assertions or proofs, made ahead of a round, so that the round does not measure the
// client's own signing. When they run out, more are made on the way. A nil *Fresh is for kinds that need none.
type Fresh struct {
	sign  func() (string, error)
	ready []string
	same  string // sent every time, to a server that does not look at it
	next  atomic.Int64
}

// Prepare makes n of what a kind needs, on all cores; nil when it needs nothing. nonce is for proofs.
func (s Setup) Prepare(k Kind, nonce string, n int) (*Fresh, error) {
	var sign func() (string, error)
	switch k {
	case Delegation:
		sign = s.assertion
	case FirstDPoP:
		sign = func() (string, error) { return s.proof(nonce) }
	default:
		return nil, nil
	}
	f := &Fresh{sign: sign, ready: make([]string, n)}
	const makers = 4
	errs := make([]error, makers)
	var wg sync.WaitGroup
	for m := range makers {
		wg.Go(func() {
			for i := m; i < n; i += makers {
				if f.ready[i], errs[m] = sign(); errs[m] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return f, errors.Join(errs...)
}

// forFloor is for the floor, which reads neither assertions nor proofs, but whose message must be as long.
func (f *Fresh) forFloor() *Fresh {
	if f == nil {
		return nil
	}
	return &Fresh{same: f.ready[0]}
}

func (f *Fresh) take() (string, error) {
	if f.same != "" {
		return f.same, nil
	}
	if n := f.next.Add(1) - 1; n < int64(len(f.ready)) {
		return f.ready[n], nil
	}
	return f.sign()
}

func (s Setup) assertion() (string, error) {
	token, err := remote.Agent{ID: s.ActorID, Key: s.ActorKey}.ActorToken(s.Issuer, time.Now())
	return token.Reveal(), err
}

func (s Setup) proof(nonce string) (string, error) {
	return s.Prover.Proof(http.MethodPost, "http://"+s.STS+obov1.ExchangeService_Exchange_FullMethodName, nonce, "")
}
