package trial

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/onbehalf/obo/connection"
)

// Origin is what an issue says of where it comes from.
type Origin struct {
	Builtin bool   // the record came with this obo
	Version string // of obo
}

// Report is what to paste into an issue: one part for each step that failed; empty when none did.
func (t Trial) Report(steps []Step, o Origin) string {
	var b strings.Builder
	for _, s := range steps {
		if s.Status != Failed {
			continue
		}
		line := func(name, format string, args ...any) {
			fmt.Fprintf(&b, "%-12s%s\n", label(name), fmt.Sprintf(format, args...))
		}
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		from := "a file"
		if o.Builtin {
			from = "built in"
		}
		line("record", "%s (%s), %s", t.Provider.Name(), from, t.Provider.Digest())
		line("obo", "%s", o.Version)
		line("step", "%s, by %s", s.Name, t.how())
		if x := s.Exchange; x != nil {
			line("request", "%s %s%s", x.Method, x.Host, x.Path)
			line("", "parameters %s", strings.Join(x.Parameters, " "))
			if len(x.Sent) > 0 {
				line("", "headers %s", strings.Join(x.Sent, " "))
			}
			x.write(line)
		}
		line("understood", "%s", s.Understood)
		line("expected", "%s", s.Expected)
	}
	return b.String()
}

// label is empty for a line that goes on with the one before.
func label(name string) string {
	if name == "" {
		return ""
	}
	return name + ":"
}

func (t Trial) how() string {
	if t.Pattern == connection.OAuth {
		return fmt.Sprintf("oauth, rotation %s", t.Provider.Summary().Rotation)
	}
	return string(t.Pattern)
}

// write shows the answer.
func (x *Exchange) write(line func(name, format string, args ...any)) {
	switch {
	case x.NoAnswer != "":
		line("answer", "none: %s", x.NoAnswer)
		return
	case x.Status != 0:
		line("answer", "HTTP %d %s", x.Status, x.ContentType)
	default:
		line("answer", "by the browser")
	}
	if len(x.Headers) > 0 {
		line("", "headers %s", strings.Join(x.Headers, " "))
	}
	if x.AuthError != "" {
		line("", "WWW-Authenticate has error=%s", x.AuthError)
	}
	if x.Body != nil {
		text, err := json.MarshalIndent(x.Body, strings.Repeat(" ", 12), "  ")
		if err == nil {
			line("", "%s", text)
		}
	}
}
