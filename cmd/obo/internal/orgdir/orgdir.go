// Package orgdir reads an org as files: org.yaml, policies/*.cedar and providers/*.yaml, as examples/ has them.
//
//	org.yaml            the org, its limits, issuers, agents and resources (docs/CONFIG-ORG.md)
//	policies/*.cedar    its policies
//	providers/*.yaml    its own provider records
//
// Two conveniences over the document that the server takes. `${env:NAME}` anywhere in a YAML file stands for an environment
// variable, and an agent may name a file with its key (`jwks_file`) in place of `jwks`; of a private key only the public part
// is taken. `builtin_providers` in org.yaml names the provider records of the executor itself that the org's policies speak of.
package orgdir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
)

// maxFile bounds one file, as the servers do.
const maxFile = 256 << 10

// Org is an org as read.
type Org struct {
	ID        delegation.OrgID
	Document  []byte // JSON for the token server
	Providers []*obov1.ProviderFile
}

// Lookup finds an environment variable.
type Lookup func(name string) (string, bool)

// Read reads a directory. Everything that can be checked here is.
func Read(dir string, env Lookup) (Org, error) {
	doc, err := readDocument(dir, env)
	if err != nil {
		return Org{}, err
	}
	org := Org{}
	records, err := builtin(doc)
	if err != nil {
		return Org{}, err
	}
	files, err := list(filepath.Join(dir, "providers"), ".yaml")
	if err != nil {
		return Org{}, err
	}
	for _, f := range files {
		text, err := readExpanded(f, env)
		if err != nil {
			return Org{}, err
		}
		p, err := connection.ParseProvider(filepath.Base(f), text)
		if err != nil {
			return Org{}, fmt.Errorf("%s: %w", f, err)
		}
		records = slices.DeleteFunc(records, func(b policy.Provider) bool { return b.Name == p.Name() })
		records = append(records, p.PolicyProvider())
		org.Providers = append(org.Providers, &obov1.ProviderFile{Name: filepath.Base(f), Text: string(text)})
	}
	if len(records) > 0 {
		doc["providers"] = records
	}
	policies, err := readPolicies(dir)
	if err != nil {
		return Org{}, err
	}
	if len(policies) > 0 {
		doc["policies"] = policies
	}
	if org.Document, err = json.Marshal(doc); err != nil {
		return Org{}, err
	}
	parsed, err := registry.Parse(org.Document)
	if err != nil {
		return Org{}, fmt.Errorf("%s: %w", filepath.Join(dir, "org.yaml"), err)
	}
	if err := parsed.Validate(); err != nil {
		return Org{}, err
	}
	org.ID = parsed.Org
	return org, nil
}

// ReadPolicies reads the *.cedar files right in a directory, for the operator's own set.
func ReadPolicies(dir string) ([]policy.File, error) {
	files, err := list(dir, ".cedar")
	if err != nil {
		return nil, err
	}
	out := make([]policy.File, 0, len(files))
	for _, f := range files {
		text, err := readFile(f)
		if err != nil {
			return nil, err
		}
		out = append(out, policy.File{Name: filepath.Base(f), Text: string(text)})
	}
	return out, nil
}

func readPolicies(dir string) ([]policy.File, error) {
	return ReadPolicies(filepath.Join(dir, "policies"))
}

// readDocument reads org.yaml as a tree, with the conveniences resolved. Policies and providers have files of their own.
func readDocument(dir string, env Lookup) (map[string]any, error) {
	path := filepath.Join(dir, "org.yaml")
	text, err := readExpanded(path, env)
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, member := range []string{"policies", "providers"} {
		if _, ok := doc[member]; ok {
			return nil, fmt.Errorf("%s: %s stand in files of their own, in %s/", path, member, filepath.Join(dir, member))
		}
	}
	agents, _ := doc["agents"].([]any)
	for n, a := range agents {
		agent, _ := a.(map[string]any)
		file, ok := agent["jwks_file"].(string)
		if !ok {
			continue
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		keys, err := publicKeys(file)
		if err != nil {
			return nil, fmt.Errorf("%s: agents[%d].jwks_file: %w", path, n, err)
		}
		delete(agent, "jwks_file")
		agent["jwks"] = keys
	}
	return doc, nil
}

// publicKeys reads a key set, or one private key of which it keeps the public part. Certificates in a set (x5c) are kept: an agent
// may authenticate by one (RFC 8705 §2.2).
func publicKeys(path string) (json.RawMessage, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if signer, err := jose.ParsePrivateJWK(data); err == nil {
		return jose.NewKeySet(signer.Key()).JSON(), nil
	}
	set, err := jose.ParseKeySet(data)
	if err != nil {
		return nil, fmt.Errorf("%s is neither a JWK set nor a private JWK: %w", path, err)
	}
	if len(set.Keys()) == 0 {
		return nil, fmt.Errorf("%s holds no key that can be used", path)
	}
	if secret, err := private(data); err != nil || secret {
		return nil, fmt.Errorf("%s holds a private key: a key set is for public keys", path)
	}
	return data, nil
}

// private reports whether a key of a set has a member that only its owner may know (RFC 7518 §6).
func private(set []byte) (bool, error) {
	var listed struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}
	if err := jose.Decode(set, &listed); err != nil {
		return false, err
	}
	return slices.ContainsFunc(listed.Keys, func(key map[string]json.RawMessage) bool {
		return slices.ContainsFunc([]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}, func(name string) bool {
			_, there := key[name]
			return there
		})
	}), nil
}

// builtin resolves builtin_providers.
func builtin(doc map[string]any) ([]policy.Provider, error) {
	names, _ := doc["builtin_providers"].([]any)
	delete(doc, "builtin_providers")
	var out []policy.Provider
	for _, n := range names {
		name, _ := n.(string)
		all := connection.Builtin()
		i := slices.IndexFunc(all, func(p connection.Provider) bool { return p.Name() == name })
		if i < 0 {
			return nil, fmt.Errorf("org.yaml: builtin_providers: there is no built-in provider %q", name)
		}
		out = append(out, all[i].PolicyProvider())
	}
	return out, nil
}

// list lists the files of a directory with one extension, in name order; a directory that is not there has none.
func list(dir, ext string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ext) && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

func readExpanded(path string, env Lookup) ([]byte, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	out, err := Expand(text, env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

var (
	reference = regexp.MustCompile(`\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}`)
	// safe is what cannot change the shape of a YAML file when it is put into it.
	safe = regexp.MustCompile(`^([A-Za-z0-9_./:][A-Za-z0-9_./:@%+=,~?&|-]*)?$`)
)

// Expand puts environment variables in the place of their references. Lines that are comments stay as they are.
func Expand(text []byte, env Lookup) ([]byte, error) {
	var problem error
	put := func(ref []byte) []byte {
		name := string(reference.FindSubmatch(ref)[1])
		value, ok := env(name)
		switch {
		case !ok:
			problem = errors.Join(problem, fmt.Errorf("${env:%s}: the environment has no %s", name, name))
		case !safe.MatchString(value):
			problem = errors.Join(problem, fmt.Errorf("${env:%s}: its value has characters that mean something in YAML", name))
		}
		return []byte(value)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i, line := range lines {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
			lines[i] = reference.ReplaceAllFunc(line, put)
		}
	}
	return bytes.Join(lines, nil), problem
}
