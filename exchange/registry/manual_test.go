package registry_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/onbehalf/obo/exchange/registry"
)

// TestManual: every example of docs/CONFIG-ORG.md is a valid document, and every field has a line there.
func TestManual(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/CONFIG-ORG.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	blocks := strings.Split(text, "```yaml\n")[1:]
	if len(blocks) < 8 {
		t.Errorf("%d examples", len(blocks))
	}
	for _, block := range blocks {
		example, _, closed := strings.Cut(block, "```")
		doc, err := registry.Parse([]byte(example))
		if err == nil {
			err = doc.Validate()
		}
		if !closed || err != nil {
			t.Errorf("%v in\n%s", err, example)
		}
	}
	_, reference, _ := strings.Cut(text, "## Reference")
	for _, name := range members(reflect.TypeFor[registry.Document]()) {
		if !strings.Contains(reference, name) {
			t.Errorf("no line about %s", name)
		}
	}
}

// members are the names of a type's members and of those below, as far as this package declares them.
func members(t reflect.Type) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[registry.Document]().PkgPath() {
		return nil
	}
	var out []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		out = append(out, name)
		out = append(out, members(t.Field(i).Type)...)
	}
	return out
}
