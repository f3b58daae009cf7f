package storetest

import (
	"slices"
	"testing"
)

type grown struct{}

func (grown) Old() {}
func (grown) New() {}

// A new method without an isolation case must fail the suite.
func TestNewMethodIsNoticed(t *testing.T) {
	t.Parallel()
	got := uncovered[grown](map[string]func(){"Old": func() {}, "Gone": func() {}})
	if !slices.Equal(got, []string{"New"}) {
		t.Errorf("uncovered methods: %v, want [New]", got)
	}
}
