package connection

import "testing"

func TestBuiltinsParse(t *testing.T) {
	t.Parallel()
	for _, p := range Builtin() {
		t.Log(p.Name(), len(p.Tools()))
	}
}
