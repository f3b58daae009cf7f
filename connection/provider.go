package connection

import (
	"encoding/json"

	"github.com/onbehalf/obo/policy"
)

// Provider is a checked provider record, ready for use. It never changes.
type Provider struct {
	name  string
	tools []Tool
}

// Tool is one operation of a provider. It never changes.
type Tool struct {
	name string
}

// ParseProvider checks a record whole and compiles its tools. name is the file's name, for errors, which wrap ErrRecord.
func ParseProvider(name string, yaml []byte) (Provider, error) { return Provider{}, ErrRecord }

// Builtin are the records that come with the program, in name order.
func Builtin() []Provider { return nil }

// Name is the provider's name, such as "github".
func (p Provider) Name() string { return p.name }

// Tools are its tools in name order.
func (p Provider) Tools() []Tool { return p.tools }

// PolicyProvider is what policy needs to know of the provider: its scopes, and each tool's groups and arguments.
func (p Provider) PolicyProvider() policy.Provider { return policy.Provider{Name: p.name} }

// Name is "provider.operation".
func (t Tool) Name() string { return t.name }

// InputSchema is the JSON Schema of the arguments.
func (t Tool) InputSchema() json.RawMessage { return nil }
