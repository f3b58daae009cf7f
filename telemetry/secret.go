// Package telemetry is what the server says about itself: logs that cannot hold a token, and the trace id that ties a log
// line, an audit record and a caller's trace together.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what is printed in place of a secret.
const Redacted = "[redacted]"

// Secret is a string that does not print: not by fmt in any verb, not in a log line, not as JSON, YAML or text, not inside
// another struct. Only Reveal gives it up, so a search for Reveal finds every place where a secret is used.
//
// It must not be the key of a map: encoding/json writes a key of kind string as it is.
type Secret string

// Reveal returns the secret itself. The result must go to the one place that needs it and nowhere else.
func (s Secret) Reveal() string { return string(s) }

// String returns Redacted.
func (s Secret) String() string { return Redacted }

// GoString returns Redacted, for %#v.
func (s Secret) GoString() string { return Redacted }

// Format writes Redacted for every verb: %q, %x and %d would bypass String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// LogValue returns Redacted, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText returns Redacted, for encoders of text and XML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON returns Redacted as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// MarshalYAML returns Redacted, so that a configuration that is printed back holds no secret.
func (s Secret) MarshalYAML() (any, error) { return Redacted, nil }
