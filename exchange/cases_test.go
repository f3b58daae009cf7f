package exchange_test

import (
	"errors"
	"testing"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
)

// TestCases runs the table of logical cases without a door. The doors run the same (GR9).
func TestCases(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for _, c := range exchangetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			cred, req := c.Build(t, w)
			if c.Prove != nil {
				cred.Method, cred.URI = exchangetest.TokenMethod, exchangetest.TokenURI
				cred.Proofs = c.Prove(t, w, cred.Method, cred.URI)
			}
			r, err := w.Service.Exchange(t.Context(), cred, req)
			if got := exchange.ReasonOf(err); got != c.Want {
				t.Fatalf("reason %q, want %q (%v)", got, c.Want, err)
			}
			if err == nil && c.Check != nil {
				c.Check(t, w, r)
			}
			if e, ok := errors.AsType[*exchange.Error](err); ok && e.Field != c.Field {
				t.Errorf("field %q, want %q (%v)", e.Field, c.Field, err)
			}
		})
	}
}
