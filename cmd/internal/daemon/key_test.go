package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// drawer is some values under a key, and a trail.
type drawer struct {
	values  [][]byte
	records []string
	broken  error // of the trail
}

func (d *drawer) Under(context.Context) (map[seal.ID]int, error) {
	out := map[seal.ID]int{}
	for _, v := range d.values {
		id, err := seal.Under(v)
		if err != nil {
			return nil, err
		}
		out[id]++
	}
	return out, nil
}

func (d *drawer) Reseal(_ context.Context, kek seal.Key, done func(int)) error {
	for i, v := range d.values {
		sealed, again, err := kek.Reseal(v, nil)
		if err != nil {
			return err
		}
		if again {
			d.values[i] = sealed
			done(1)
		}
	}
	return nil
}

func (d *drawer) AppendAudit(_ context.Context, records []store.AuditRecord) error {
	for _, r := range records {
		d.records = append(d.records, string(r.Body))
	}
	return d.broken
}

func (d *drawer) Close() error { return nil }

// TestKeyCommands: a key is changed step by step, each on the trail, and none of them can lose what is sealed.
func TestKeyCommands(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "kek.json")
	if err := (seal.KeyFile{Path: file}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := seal.KeyFile{Path: file}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := &drawer{}
	for range 250 {
		v, err := first.Seal([]byte("x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.values = append(d.values, v)
	}
	p := Program[config.STS]{
		Load: func(string) (config.STS, error) { return config.STS{}, nil }, KeyFile: func(config.STS) KeyFile { return KeyFile{Path: file} },
		Sealed: func(context.Context, config.STS) (Sealed, error) { return d, nil },
	}
	run := func(command, id string) ([]keyInfo, string, error) {
		t.Helper()
		var text, list bytes.Buffer
		c := keyCommands{Promote: keyID{id}, Drop: keyID{id}}
		if err := p.key(t.Context(), command, c, &text); err != nil {
			return nil, text.String(), err
		}
		if err := p.key(t.Context(), "list", keyCommands{Output: "json"}, &list); err != nil {
			t.Fatal(err)
		}
		var out struct{ Keys []keyInfo }
		if err := json.Unmarshal(list.Bytes(), &out); err != nil {
			t.Fatalf("%v: %s", err, list.String())
		}
		return out.Keys, text.String(), nil
	}
	old := first.IDs()[0].String()
	is := func(got []keyInfo, err error, want ...keyInfo) {
		t.Helper()
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v, %v; want %v", got, err, want)
		}
	}
	got, _, err := run("list", "")
	is(got, err, keyInfo{old, true, 250})
	for _, bad := range []string{"", "zz", "00000000"} {
		if _, _, err := run("promote", bad); !errors.Is(err, seal.ErrID) {
			t.Errorf("promote %q: %v", bad, err)
		}
	}
	if _, _, err := run("drop", old); !errors.Is(err, seal.ErrID) {
		t.Errorf("the key that seals was dropped: %v", err)
	}
	got, _, err = run("add", "")
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	current := got[1].ID
	is(got, err, keyInfo{old, true, 250}, keyInfo{current, false, 0})
	got, _, err = run("promote", current)
	is(got, err, keyInfo{current, true, 0}, keyInfo{old, false, 250})
	if _, _, err := run("drop", old); err == nil || !strings.Contains(err.Error(), "250 values are sealed under key "+old) {
		t.Errorf("dropped while it seals 250: %v", err)
	}

	d.broken = errors.New("no trail")
	before := len(d.values)
	if _, _, err := run("reseal", ""); !errors.Is(err, d.broken) {
		t.Errorf("without a record: %v", err)
	}
	if _, _, err := run("add", ""); !errors.Is(err, d.broken) {
		t.Errorf("without a record: %v", err)
	}
	d.broken = nil
	got, _, err = run("list", "")
	is(got, err, keyInfo{current, true, 0}, keyInfo{old, false, before})

	got, text, err := run("reseal", "")
	is(got, err, keyInfo{current, true, 250}, keyInfo{old, false, 0})
	if !strings.Contains(text, "sealed again: 100 of 250\n") || !strings.Contains(text, "sealed again: 250 of 250\n") {
		t.Errorf("no progress: %s", text)
	}
	records := len(d.records)
	if _, _, err := run("reseal", ""); err != nil || len(d.records) != records {
		t.Errorf("nothing was left, and it is on record: %v", err)
	}
	got, _, err = run("drop", old)
	is(got, err, keyInfo{current, true, 250})
	last := d.records[len(d.records)-1]
	for _, want := range []string{`"administrator":"operator:host"`, "drop key-encryption key " + old, `"before":`, `"after":`} {
		if !strings.Contains(last, want) {
			t.Errorf("the record lacks %s: %s", want, last)
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil || strings.Contains(strings.Join(d.records, ""), string(raw[20:60])) {
		t.Errorf("the trail holds the key: %v", err)
	}

	// The file of before opens nothing: a server does not take it, and neither does a command.
	if err := KeyFits(t.Context(), first, d.Under); err == nil || !strings.Contains(err.Error(), "lacks key "+current) {
		t.Errorf("%v", err)
	}
	now, err := seal.KeyFile{Path: file}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	theirs, _, err := first.WithNew() // or it is another server's, which needs both
	if err != nil {
		t.Fatal(err)
	}
	if err := (seal.KeyFile{Path: file}).Replace(t.Context(), now, theirs); err != nil {
		t.Fatal(err)
	}
	spare := theirs.IDs()[1].String()
	for _, command := range []string{"list", "reseal", "drop"} {
		if _, _, err := run(command, spare); err == nil || !strings.Contains(err.Error(), current) || !strings.Contains(err.Error(), "250 values") {
			t.Errorf("%s with a file of before: %v", command, err)
		}
	}
}
