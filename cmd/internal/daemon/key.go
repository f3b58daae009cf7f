package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

// Sealed is what a server keeps under its key-encryption key, and its trail. The server may be running: every value is replaced by
// compare-and-swap.
type Sealed interface {
	// Under counts the values by the key that seals them.
	Under(ctx context.Context) (map[seal.ID]int, error)
	// Reseal seals every value under the key that seals now, and tells by and by how many more are done.
	Reseal(ctx context.Context, kek seal.Key, done func(more int)) error
	audit.Appender
	Close() error
}

// keyCommands change the file of the key-encryption key, and what is sealed under it.
type keyCommands struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration (YAML) of the server whose key it is."`
	Output string `enum:"text,json" default:"text" help:"text or json."`

	List    struct{} `cmd:"" help:"List the keys, and how many values each seals."`
	Add     struct{} `cmd:"" help:"Add a fresh key, which opens and does not seal yet. Copy the file to every replica and reload them."`
	Promote keyID    `cmd:"" help:"Let a key seal from now on. Copy the file to every replica and reload them."`
	Reseal  struct{} `cmd:"" help:"Seal everything under the key that seals now. Servers may run; it may be run again."`
	Drop    keyID    `cmd:"" help:"Remove a key under which nothing is sealed. Copy the file to every replica and reload them."`
	Wrap    struct{} `cmd:"" help:"Encrypt the key file, which is not yet, as key_encryption says. Copy the file to every replica and restart them."`
	Unwrap  struct{} `cmd:"" help:"Take that back: the key lies in the file as it is. Then leave key_encryption out, and restart the replicas."`
}

type keyID struct {
	ID string `arg:"" help:"The key, as key list shows it."`
}

// keyInfo is one key, for programs.
type keyInfo struct {
	ID     string `json:"id"`
	Seals  bool   `json:"seals"`
	Values int    `json:"values"` // that are sealed under it
}

// keyring is a key-encryption key with the file that it is in and what it seals.
type keyring struct {
	file   seal.KeyFile
	key    seal.Key
	sealed Sealed
	out    io.Writer
	asJSON bool
}

// key runs one of the key commands: "add", "promote", ...
func (p Program[C]) key(ctx context.Context, command string, c keyCommands, out io.Writer) (err error) {
	cfg, err := p.Load(c.Config)
	if err != nil {
		return err
	}
	file, done, err := p.KeyFile(cfg).reach(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	k := keyring{file: file, out: out, asJSON: c.Output == "json"}
	if command == "wrap" && file.Under != nil {
		if _, err := file.Open(ctx); err == nil {
			return fmt.Errorf("%s is encrypted already, by the key that key_encryption names", file.Path)
		}
		k.file.Under = nil // as it is so far
	}
	if k.key, err = k.file.Open(ctx); err != nil {
		return err
	}
	if k.sealed, err = p.Sealed(ctx, cfg); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.sealed.Close()) }()
	switch command {
	case "add":
		err = k.add(ctx)
	case "promote":
		err = k.promote(ctx, c.Promote.ID)
	case "reseal":
		err = k.reseal(ctx)
	case "drop":
		err = k.drop(ctx, c.Drop.ID)
	case "wrap":
		err = k.move(ctx, file.Under, "encrypt the key file as key_encryption says")
	case "unwrap":
		err = k.move(ctx, nil, "leave the key file unencrypted")
	}
	if err != nil {
		return err
	}
	return k.list(ctx)
}

func (k *keyring) add(ctx context.Context) error {
	next, id, err := k.key.WithNew()
	if err != nil {
		return err
	}
	return k.replace(ctx, next, "add key-encryption key "+id.String())
}

func (k *keyring) promote(ctx context.Context, text string) error {
	id, err := seal.ParseID(text)
	if err != nil {
		return err
	}
	next, err := k.key.SealingBy(id)
	if err != nil {
		return err
	}
	return k.replace(ctx, next, "key-encryption key "+id.String()+" seals from now on")
}

// drop wants a key that nothing needs any more: what is sealed under a key that is gone is lost.
func (k *keyring) drop(ctx context.Context, text string) error {
	id, err := seal.ParseID(text)
	if err != nil {
		return err
	}
	next, err := k.key.Without(id)
	if err != nil {
		return err
	}
	under, err := k.sealed.Under(ctx)
	if err != nil {
		return err
	}
	if err := fits(k.key, k.file.Path, under); err != nil { // another server's file, perhaps, which needs the key
		return err
	}
	if n := under[id]; n > 0 {
		return fmt.Errorf("%d values are sealed under key %s and would be lost: run key reseal first", n, id)
	}
	return k.replace(ctx, next, "drop key-encryption key "+id.String())
}

// replace puts a changed key into the file, on the trail first.
func (k *keyring) replace(ctx context.Context, next seal.Key, what string) error {
	if err := k.record(ctx, what, audit.Change{Path: "key_file", Before: names(k.key), After: names(next)}); err != nil {
		return err
	}
	if err := k.file.Replace(ctx, k.key, next); err != nil {
		return err
	}
	k.key = next
	return nil
}

// move changes by what the file is encrypted, on the trail first. The key is the same.
func (k *keyring) move(ctx context.Context, to seal.Remote, what string) error {
	if (to == nil) == (k.file.Under == nil) {
		return errors.New("the configuration has no key_encryption: write there which key of which service or device it is to be")
	}
	encrypted := func(by seal.Remote) string {
		return asJSON(map[bool]string{true: "encrypted", false: "not encrypted"}[by != nil])
	}
	change := audit.Change{Path: "key_file", Before: encrypted(k.file.Under), After: encrypted(to)}
	if err := k.record(ctx, what, change); err != nil {
		return err
	}
	if err := k.file.Move(ctx, to); err != nil {
		return err
	}
	k.file.Under = to
	return nil
}

func (k *keyring) reseal(ctx context.Context) error {
	before, err := k.sealed.Under(ctx)
	if err != nil {
		return err
	}
	if err := fits(k.key, k.file.Path, before); err != nil {
		return err
	}
	current, all := k.key.IDs()[0], 0
	for _, n := range before {
		all += n
	}
	left := all - before[current]
	if left == 0 {
		return nil
	}
	what := fmt.Sprintf("seal %d values again, under key-encryption key %s", left, current)
	change := audit.Change{Path: "sealed", Before: counts(before), After: counts(map[seal.ID]int{current: all})}
	if err := k.record(ctx, what, change); err != nil {
		return err
	}
	done, told := 0, 0
	return k.sealed.Reseal(ctx, k.key, func(more int) {
		if done += more; !k.asJSON && more > 0 && (done-told >= 100 || done == left) {
			told = done
			fmt.Fprintf(k.out, "sealed again: %d of %d\n", done, left)
		}
	})
}

// fits refuses a file that does not open all that is sealed: it is not the one that the servers use.
func fits(key seal.Key, file string, under map[seal.ID]int) error {
	for id, n := range under {
		if !slices.Contains(key.IDs(), id) {
			return fmt.Errorf("%s lacks key %s, under which %d values are sealed: use the file that the servers use, or bring the key back",
				file, id, n)
		}
	}
	return nil
}

// record puts a change on the trail before it is made. Whoever can run this has the key and the database: the operator.
func (k *keyring) record(ctx context.Context, what string, change audit.Change) error {
	trail, err := audit.Open(audit.Config{Store: k.sealed})
	if err != nil {
		return err
	}
	return errors.Join(trail.Record(ctx, audit.Record{
		ActionID: string(store.PlatformOrg) + "." + rand.Text(), Kind: audit.KindAdmin, Outcome: audit.OutcomeApproved,
		Org: store.PlatformOrg, Time: time.Now(), Administrator: "operator:host", Role: policy.RoleOperator,
		Resource: "key_file", Detail: what, Changes: []audit.Change{change},
	}), trail.Close(ctx))
}

func (k *keyring) list(ctx context.Context) error {
	under, err := k.sealed.Under(ctx)
	if err != nil {
		return err
	}
	infos := []keyInfo{}
	for i, id := range k.key.IDs() {
		infos = append(infos, keyInfo{id.String(), i == 0, under[id]})
		delete(under, id)
	}
	if k.asJSON {
		text := json.NewEncoder(k.out)
		text.SetIndent("", "  ")
		err = text.Encode(struct {
			File string    `json:"file"`
			Keys []keyInfo `json:"keys"`
		}{k.file.Path, infos})
	} else {
		err = table(k.out, infos)
	}
	for _, id := range slices.Sorted(maps.Keys(under)) {
		err = errors.Join(err, fmt.Errorf("%d values are sealed under key %s, which is not in %s: they do not open", under[id], id, k.file.Path))
	}
	return err
}

func table(out io.Writer, infos []keyInfo) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tDOES\tVALUES UNDER IT")
	for _, k := range infos {
		does := "opens"
		if k.Seals {
			does = "seals, opens"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\n", k.ID, does, k.Values)
	}
	return w.Flush()
}

// names are the ids of a key, the one that seals first, as JSON.
func names(key seal.Key) string {
	ids := key.IDs()
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return asJSON(out)
}

func counts(under map[seal.ID]int) string {
	out := map[string]int{}
	for id, n := range under {
		out[id.String()] = n
	}
	return asJSON(out)
}

func asJSON(v any) string {
	text, _ := jose.Encode(v) // strings and numbers cannot fail
	return string(text)
}

// KeyFits refuses a key that does not open all that is sealed: a server that took it would lose what it holds.
func KeyFits(ctx context.Context, key seal.Key, under func(context.Context) (map[seal.ID]int, error)) error {
	in, err := under(ctx)
	if err != nil {
		return err
	}
	return fits(key, "key_file", in)
}
