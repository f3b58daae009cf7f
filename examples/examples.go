// Package examples holds two sample orgs as files, ready to be copied: `obo dev` applies them, and `obo apply -f` would.
package examples

import "embed"

// Orgs holds a directory for each org, as `obo apply -f` reads it.
//
//go:embed acme globex
var Orgs embed.FS
