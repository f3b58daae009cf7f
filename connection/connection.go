// Package connection knows providers, and an org's or a user's links to them.
//
// A provider is data: a YAML record that says where it is, how a credential is presented, which scopes it has, and its
// tools. A tool is one HTTP request with holes: each argument that fills a hole was accepted by the tool's JSON Schema and is
// encoded for the place where it goes, so that an argument can never become a path, a header or another host.
//
// A connection is a stored link with a sealed credential. Which of them a token may spend is decided by Choose.
package connection

import "errors"

// Pattern is how a connection's credential came to be and how it is presented.
type Pattern string

// The patterns.
const (
	DeveloperSecret Pattern = "developer_secret" // a key that the whole org shares
	OAuth           Pattern = "oauth"            // access that a user granted (RFC 6749), kept alive by refresh
	APIKey          Pattern = "api_key"          // a user's own key
	Basic           Pattern = "basic"            // a user's own name and password (RFC 7617)
	ServiceAccount  Pattern = "service_account"  // the org's own account, whose tokens are minted anew
)

// Shared reports whether the whole org shares such a connection: it is nobody's own.
func (p Pattern) Shared() bool { return p == DeveloperSecret || p == ServiceAccount }

// Risk is what a tool may do to the world.
type Risk string

// The risks.
const (
	Read        Risk = "read"        // changes nothing
	Write       Risk = "write"       // changes something
	Destructive Risk = "destructive" // cannot be undone
)

// ErrRecord says that a provider record may not be used. The text names the place in the record and what to do.
var ErrRecord = errors.New("connection: provider record")

// MaxRecord is the longest provider record, in bytes.
const MaxRecord = 256 << 10
