package orgdir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
)

const examples = "../../../../examples"

// environment is what the samples refer to.
func environment(t *testing.T) Lookup {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	private, err := jose.MarshalPrivateJWK("k1", jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.jwk")
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"OBO_SAMPLE_ISSUER": "http://127.0.0.1:1", "OBO_PROVIDER_URL": "http://127.0.0.1:2",
		"OBO_EXECUTOR_AUDIENCE": "http://127.0.0.1:3", "OBO_ORCHESTRATOR_KEY": file, "OBO_RESEARCHER_KEY": file,
		"OBO_ORG2_AGENT_KEY": file, "OBO_RESOURCE_SERVER_KEY": file,
	}
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

func TestSampleOrgsAreWholeAndTheirPoliciesCompile(t *testing.T) {
	t.Parallel()
	env := environment(t)
	for _, org := range []string{"acme", "globex"} {
		got, err := Read(filepath.Join(examples, org), env)
		if err != nil {
			t.Fatal(err)
		}
		if string(got.ID) != org || len(got.Providers) != 1 {
			t.Errorf("%s: id %q, %d providers", org, got.ID, len(got.Providers))
		}
		// A private key never leaves for the server.
		if strings.Contains(string(got.Document), `"d":`) || !strings.Contains(string(got.Document), `"k1"`) {
			t.Errorf("%s: keys in the document: %s", org, got.Document)
		}
		compile(t, got)
	}
}

func compile(t *testing.T, org Org) {
	t.Helper()
	doc, err := registry.Parse(org.Document)
	if err != nil {
		t.Fatal(err)
	}
	b := policy.Bundle{Org: org.ID, Version: "1", Policies: doc.Policies, Providers: doc.Providers, DetailTypes: doc.DetailTypes}
	for _, a := range doc.Agents {
		b.Agents = append(b.Agents, policy.Agent{Name: a.Name, Groups: a.Groups, Owner: a.Owner, External: a.External})
	}
	for _, r := range doc.Resources {
		b.Resources = append(b.Resources, r.URI)
	}
	if _, err := policy.Compile(b); err != nil {
		t.Error(err)
	}
}

func TestReadSaysWhatIsWrongAndWhere(t *testing.T) {
	t.Parallel()
	env := environment(t)
	for name, c := range map[string]struct{ file, text, want string }{
		"unknown member":       {"org.yaml", "org: acme\nagent: []\n", "agent"},
		"policies in org.yaml": {"org.yaml", "org: acme\npolicies: []\n", "policies"},
		"unset variable":       {"org.yaml", "org: ${env:NO_SUCH_NAME}\n", "NO_SUCH_NAME"},
		"missing key file":     {"org.yaml", "org: acme\nagents: [{name: a, jwks_file: nowhere.jwk}]\n", "nowhere.jwk"},
		"private key in a set": {"org.yaml", "org: acme\nagents: [{name: a, jwks_file: set.jwk}]\n", "private key"},
		"unknown builtin":      {"org.yaml", "org: acme\nbuiltin_providers: [nothing]\n", "nothing"},
		"bad provider":         {"providers/x.yaml", "name: x\n", "x.yaml"},
		"not YAML":             {"org.yaml", "org: [\n", "org.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "org.yaml"), "org: acme\n")
			write(t, filepath.Join(dir, c.file), c.text)
			write(t, filepath.Join(dir, "set.jwk"), `{"keys":[`+strings.TrimSuffix(publicKey, "}")+`,"d":"AA"},`+publicKey+`]}`)
			_, err := Read(dir, env)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to name %q", err, c.want)
			}
		})
	}
}

// publicKey is one of RFC 7517 appendix A.1, with a certificate member.
const publicKey = `{"kty":"EC","crv":"P-256","kid":"1","alg":"ES256","x5c":["AA=="],` +
	`"x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`

// TestCertificatesAreKept: CA7. An agent that authenticates by a certificate of its own has it in its key set.
func TestCertificatesAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "set.jwk"), `{"keys":[`+publicKey+`]}`)
	got, err := publicKeys(filepath.Join(dir, "set.jwk"))
	if err != nil || !strings.Contains(string(got), "x5c") {
		t.Errorf("%s, %v", got, err)
	}
}

// A value from the environment cannot add members to a file.
func TestExpandCannotChangeTheShape(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"a\nb: c", "a: b", "a #b", `a"`, "{a}", "*a", "[x]"} {
		if out, err := Expand([]byte("x: ${env:V}\n"), func(string) (string, bool) { return value, true }); err == nil {
			t.Errorf("%q became %q", value, out)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
