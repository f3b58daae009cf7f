package store

import (
	"encoding/json"
	"time"

	"github.com/onbehalf/obo/delegation"
)

// Connection is an org's or a user's link to a provider, with its credential sealed.
type Connection struct {
	ID           string
	Provider     string
	Pattern      string
	Subject      string // empty when the org shares it
	Status       string
	StatusReason string
	Version      int64 // 1 for the first; compare-and-swap
	Sealed       []byte
	Created      time.Time
	Updated      time.Time

	Account  string            // what its owner calls it at the provider
	Hint     string            // the end of the secret, masked
	Scopes   []string          // the provider's, as granted; nil: not known
	Settings map[string]string // where the provider is, for this connection
	Expires  time.Time         // of what Sealed holds; zero: not known
	Renew    time.Time         // from when on it is refreshed when it is used; zero: never
	Due      time.Time         // when it is refreshed though nobody uses it; zero: never
}

// OrgConnection names a connection of any org.
type OrgConnection struct {
	Org delegation.OrgID
	ID  string
}

// Refreshing is one process's right to refresh a connection, for a time.
type Refreshing struct {
	Connection string
	Fence      int64     // larger than that of every holder before
	Until      time.Time // another may take over after that
	Spent      []byte    // SHA-256 of the refresh token that a holder was about to spend, and did not say what came of it; empty: none
	SpentAt    time.Time
}

// ConnectionEvent is a change of a connection's status.
type ConnectionEvent struct {
	Sequence   uint64 // of the org, without gaps
	Connection string
	Provider   string
	Subject    string
	Before     string // empty: it is new
	After      string // empty: it is deleted
	Reason     string
	Time       time.Time
}

// Client is an org's registration at a provider, or at an issuer where its users sign in.
type Client struct {
	Name     string // the provider's, or the issuer's with a prefix
	ClientID string
	Settings map[string]string
	Version  int64  // 1 for the first; compare-and-swap
	Sealed   []byte // its secret; empty: it has none
	Updated  time.Time
}

// Authorization is an attempt to connect an account.
type Authorization struct {
	ID         string
	Connection string
	Provider   string
	Subject    string
	Status     string
	Reason     string
	Version    int64    // 1 for the first; compare-and-swap
	Scopes     []string // the provider's, that are asked for
	Agent      string   // who asked
	Browser    []byte   // SHA-256 of the cookie of the browser that is at it
	Sealed     []byte   // what the steps must remember and nobody may read
	Created    time.Time
	Expires    time.Time
}

// Theme is how an org's pages look.
type Theme struct {
	Name    string // what people call the org; empty: its id
	Accent  string // #rrggbb; empty: ours
	Version int64  // 1 for the first; compare-and-swap
	Updated time.Time
}

// EventsKept is how long events of connections are kept.
const EventsKept = 30 * 24 * time.Hour

// ConnectionTexts are a connection's scopes and settings as the engines store them.
func ConnectionTexts(c Connection) (scopes, settings string, err error) {
	if scopes, err = JSON(c.Scopes); err != nil {
		return "", "", err
	}
	settings, err = JSON(c.Settings)
	return scopes, settings, err
}

// JSON is a value as the engines store it.
func JSON(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}
