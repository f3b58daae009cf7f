package main

import (
	"slices"
	"testing"

	"github.com/onbehalf/obo/cmd/obo/internal/render"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// TestLongest: a chain that was only asked for is not shown as one that was.
func TestLongest(t *testing.T) {
	t.Parallel()
	entry := func(outcome string, chain ...string) render.Entry {
		return render.Entry{Record: &obov1.AuditRecord{Outcome: outcome, Chain: chain}}
	}
	for name, tt := range map[string]struct {
		entries []render.Entry
		want    []string
	}{
		"approved hops":            {[]render.Entry{entry("approved", "a"), entry("approved", "b", "a")}, []string{"b", "a"}},
		"a refused hop is no hop":  {[]render.Entry{entry("approved", "a"), entry("refused", "b", "a")}, []string{"a"}},
		"nothing but refusals":     {[]render.Entry{entry("refused", "b", "a")}, []string{"b", "a"}},
		"an operator has no chain": {[]render.Entry{entry("approved")}, nil},
	} {
		if got := longest(tt.entries); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
