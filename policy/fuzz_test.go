package policy

import (
	"strings"
	"testing"
)

// FuzzPolicyUpload holds an upload to its promises: text is compiled or refused with problems at real places, in words of bounded
// length; what is compiled decides, and never allows what it calls refused.
func FuzzPolicyUpload(f *testing.F) {
	for _, text := range []string{
		"", permitAll, `@id("a") forbid (principal, action, resource) when { context.depth + 9223372036854775807 > 5 };`,
		`@id("a") permit (principal == Agent::"acme/x", action in [Action::"exchange"], resource is Scope in Provider::"github")
		 when { context has acr && context.acr like "*\*x" } unless { [1, 2].contains(context.depth) };`,
		`@id("a") permit (principal, action == Action::"payments.transfer", resource) when { context.args.amont.lessThan(decimal("1.0")) };`,
		`/* */ // x` + "\n" + `@id("a") permit (principal == User::"globex/x", action, resource);`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Compile(bundle(text))
		if err != nil {
			lines := strings.Split(text, "\n")
			for _, p := range problems(t, bundle(text)) {
				if p.Line > len(lines) || (p.Line > 0 && (p.Column < 1 || p.Column > len(lines[p.Line-1])+1)) {
					t.Errorf("a problem at %d:%d, which is not in the file", p.Line, p.Column)
				}
				if p.Message == "" || len(p.Message) > 4*MaxFileSize {
					t.Errorf("a message of %d bytes", len(p.Message))
				}
			}
			return
		}
		for _, d := range append(s.Exchange(exchangeRequest("github:issues:write")), s.Call(callRequest("github.search", ""))) {
			if d.Allowed != (d.Reason == "") || (d.Allowed && len(d.Policies) == 0) {
				t.Errorf("%+v", d)
			}
		}
	})
}

// FuzzArguments holds the reading of arguments to its promise: what it accepts fits the schema.
func FuzzArguments(f *testing.F) {
	for _, text := range []string{"", "{}", `{"owner":"a","title":"b","labels":["c"]}`, `{"amount":1e2,"count":-0.0}`, `{"owner":"\ud83d\ude00"}`} {
		f.Add(text)
	}
	s := compile(f, bundle(permitAll))
	f.Fuzz(func(t *testing.T, text string) {
		for _, tool := range []string{"github.create_issue", "payments.transfer", "github.search"} {
			if d := s.Call(callRequest(tool, text)); d.Reason == reasonSchema {
				t.Errorf("%s: read, and does not fit the schema", tool)
			}
		}
	})
}
