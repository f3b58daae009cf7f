package registry_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// TestStreams: what is wrong with a registration is said, with its path.
func TestStreams(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/SIGNALS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(data), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	for name, c := range map[string]struct {
		change func(*registry.Document)
		path   string // empty: nothing is wrong
	}{
		"the manual's example": {func(*registry.Document) {}, ""},
		"everything": {func(d *registry.Document) {
			s := &d.SignalStreams[0]
			s.StreamID, s.Algorithms, s.Subject = "f67e39a0", []string{"RS256"}, registry.SubjectOpaque
		}, ""},
		"SS4b polled":                      {func(d *registry.Document) { d.SignalStreams[0].PollEndpoint = "https://acme.okta.example/poll" }, ""},
		"SS4b polled on loopback":          {func(d *registry.Document) { d.SignalStreams[0].PollEndpoint = "http://127.0.0.1:1/poll" }, ""},
		"SS4b polled in the clear":         {func(d *registry.Document) { d.SignalStreams[0].PollEndpoint = "http://okta.example/poll" }, "signal_streams/okta-events/poll_endpoint"},
		"SS4b a secret in the endpoint":    {func(d *registry.Document) { d.SignalStreams[0].PollEndpoint = "https://u:p@okta.example/poll" }, "signal_streams/okta-events/poll_endpoint"},
		"SS4b a parameter in the endpoint": {func(d *registry.Document) { d.SignalStreams[0].PollEndpoint = "https://okta.example/poll?token=x" }, "signal_streams/okta-events/poll_endpoint"},
		"name":                             {func(d *registry.Document) { d.SignalStreams[0].Name = "A b" }, "signal_streams/A b/name"},
		"name twice":                       {func(d *registry.Document) { d.SignalStreams = append(d.SignalStreams, d.SignalStreams[0]) }, "signal_streams/okta-events/name"},
		"issuer":                           {func(d *registry.Document) { d.SignalStreams[0].Issuer = "entra" }, "signal_streams/okta-events/issuer"},
		"transmitter":                      {func(d *registry.Document) { d.SignalStreams[0].Transmitter = "http://idp.example" }, "signal_streams/okta-events/transmitter"},
		"no audience":                      {func(d *registry.Document) { d.SignalStreams[0].Audience = "" }, "signal_streams/okta-events/audience"},
		"JW4 audience of logins":           {func(d *registry.Document) { d.SignalStreams[0].Audience = "obo-app" }, "signal_streams/okta-events/audience"},
		"stream_id":                        {func(d *registry.Document) { d.SignalStreams[0].StreamID = "\n" }, "signal_streams/okta-events/stream_id"},
		"JW1 algorithm":                    {func(d *registry.Document) { d.SignalStreams[0].Algorithms = []string{"HS256"} }, "signal_streams/okta-events/algorithms"},
		"no keys":                          {func(d *registry.Document) { d.SignalStreams[0].JWKS = []byte(`{"keys":[]}`) }, "signal_streams/okta-events/jwks"},
		"jwks":                             {func(d *registry.Document) { d.SignalStreams[0].JWKS = []byte(`[]`) }, "signal_streams/okta-events/jwks"},
		"subject":                          {func(d *registry.Document) { d.SignalStreams[0].Subject = "email" }, "signal_streams/okta-events/subject"},
		"SS3 critical":                     {func(d *registry.Document) { d.SignalStreams[0].CriticalSubjectMembers = []string{"device"} }, ""},
		"SS3 critical without a name":      {func(d *registry.Document) { d.SignalStreams[0].CriticalSubjectMembers = []string{""} }, "signal_streams/okta-events/critical_subject_members"},
		"too many":                         {func(d *registry.Document) { d.SignalStreams = make([]registry.SignalStream, 65) }, "signal_streams"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc, err := registry.Parse([]byte(example))
			if err != nil {
				t.Fatal(err)
			}
			c.change(&doc)
			err = doc.Validate()
			invalid, _ := errors.AsType[*registry.InvalidError](err)
			switch {
			case c.path == "" && err != nil:
				t.Error(err)
			case c.path != "" && (invalid == nil || invalid.Problems[0].Path != c.path):
				t.Errorf("want %s: %v", c.path, err)
			}
		})
	}
}

// TestStreamAlgorithms: FA6. Under the FAPI profile no transmitter signs with RS256 either.
func TestStreamAlgorithms(t *testing.T) {
	t.Parallel()
	doc := registry.Document{
		Org: "acme", Profile: registry.ProfileFAPI,
		Issuers:       []registry.Issuer{{Name: "okta", URL: "https://idp.example", Audiences: []string{"app"}}},
		SignalStreams: []registry.SignalStream{{Name: "s", Issuer: "okta", Transmitter: "https://idp.example", Audience: "events"}},
	}
	stream, ok := compile(t, doc).Stream("s")
	if !ok || stream.AcceptsAlgorithm(jose.RS256) || !stream.AcceptsAlgorithm(jose.ES256) || stream.Of.URL != "https://idp.example" {
		t.Errorf("%+v", stream)
	}
}
