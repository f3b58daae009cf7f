package registry_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/exchange/registry"
)

// TestDirectory: what is wrong with a directory, or with the claim that tells its users apart, is said with its path.
func TestDirectory(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/DIRECTORY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(data), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	claim := func(name string) func(*registry.Document) {
		return func(d *registry.Document) { d.Issuers[0].SubjectClaim = name }
	}
	for name, c := range map[string]struct {
		change func(*registry.Document)
		path   string // empty: nothing is wrong
	}{
		"the manual's example": {func(*registry.Document) {}, ""},
		"none":                 {func(d *registry.Document) { d.Directory = registry.Directory{} }, ""},
		"no issuer":            {func(d *registry.Document) { d.Directory.Issuer = "" }, "directory/issuer"},
		"another issuer":       {func(d *registry.Document) { d.Directory.Issuer = "entra" }, "directory/issuer"},
		"the user name":        {func(d *registry.Document) { d.Directory.Subject = "userName" }, ""},
		"an address":           {func(d *registry.Document) { d.Directory.Subject = "email" }, "directory/subject"},
		"oid":                  {claim("oid"), ""},
		"sub":                  {claim("sub"), "issuers/okta/subject_claim"},
		"email":                {claim("email"), "issuers/okta/subject_claim"},
		"upn":                  {claim("upn"), "issuers/okta/subject_claim"},
		"a control character":  {claim("a\nb"), "issuers/okta/subject_claim"},
		"oid and assertions": {func(d *registry.Document) {
			d.Issuers[0].SubjectClaim, d.Issuers[0].TokenTypes = "oid", []string{"jwt-bearer"}
		}, "issuers/okta/subject_claim"},
		"oid and events": {func(d *registry.Document) {
			d.Issuers[0].SubjectClaim = "oid"
			d.SignalStreams = []registry.SignalStream{{Name: "s", Issuer: "okta", Transmitter: "https://idp.example", Audience: "a"}}
		}, "signal_streams/s/issuer"},
		"a group of the directory administers": {func(d *registry.Document) {
			d.Administrators = []registry.Administrator{{Role: "auditor", Issuer: "okta", Audience: "a", Group: "g"}}
		}, ""},
		"a group of nowhere administers": {func(d *registry.Document) {
			d.Directory = registry.Directory{}
			d.Administrators = []registry.Administrator{{Role: "auditor", Issuer: "okta", Audience: "a", Group: "g"}}
		}, "administrators/0/group"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc, err := registry.Parse([]byte(example))
			if err != nil {
				t.Fatal(err)
			}
			before := doc
			c.change(&doc)
			err = doc.Validate()
			invalid, _ := errors.AsType[*registry.InvalidError](err)
			switch {
			case c.path == "" && err != nil:
				t.Error(err)
			case c.path != "" && (invalid == nil || invalid.Problems[0].Path != c.path):
				t.Errorf("want %s: %v", c.path, err)
			}
			shown := slices.ContainsFunc(registry.Diff(before, doc), func(c registry.Change) bool { return c.Path == "directory" })
			if shown != (doc.Directory != before.Directory) {
				t.Errorf("the difference is shown: %v", shown)
			}
		})
	}
}
