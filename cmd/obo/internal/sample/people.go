// Package sample is the world around obo for trying it out: people who sign in, an OpenID provider that vouches for them,
// and an issue tracker that agents work on. It runs on loopback only and is not meant for anything else.
package sample

import (
	"slices"
	"strings"
)

// Audience is the application that people sign in to: who the sample ID tokens are for.
const Audience = "obo-sample-app"

// Person is somebody who can sign in. Alice is in both orgs, with one and the same name and subject identifier, so that
// whoever forgets the org mixes up two people.
type Person struct {
	Name    string   `json:"name"`
	Org     string   `json:"org"` // the tenant claim
	Subject string   `json:"sub"`
	Groups  []string `json:"groups"`
}

// People are all who can sign in.
func People() []Person {
	return []Person{
		{Name: "alice", Org: "acme", Subject: "alice", Groups: []string{"engineering"}},
		{Name: "bob", Org: "acme", Subject: "bob", Groups: []string{"sales"}},
		{Name: "alice", Org: "globex", Subject: "alice", Groups: []string{"engineering"}},
	}
}

// Find finds a person by name and org.
func Find(name, org string) (Person, bool) {
	i := slices.IndexFunc(People(), func(p Person) bool { return p.Name == name && p.Org == org })
	if i < 0 {
		return Person{}, false
	}
	return People()[i], true
}

// Known lists who can sign in, for an error message.
func Known() string {
	names := make([]string, 0, len(People()))
	for _, p := range People() {
		names = append(names, p.Name+" of "+p.Org)
	}
	return strings.Join(names, ", ")
}
