package delegation

import (
	"fmt"
	"strings"
)

// OrgID is a tenant: 1 to 63 characters of a-z, 0-9 and hyphen, with no hyphen at either end.
type OrgID string

// Prefixes of subject identifiers. Kinds never collide, so a user cannot be taken for an agent (RFC 9700 §4.15).
const (
	userPrefix    = "user:"
	agentPrefix   = "agent:"
	servicePrefix = "service:"
)

// The longest parts of an identifier, in bytes.
const (
	maxLabel   = 63  // org, agent and issuer names
	maxSubject = 255 // an issuer's own "sub" (OpenID Connect Core §2)
)

// ParseOrgID checks an org id. The error wraps ErrMalformed.
func ParseOrgID(s string) (OrgID, error) {
	if !isLabel(s) {
		return "", fmt.Errorf("%w: org id %q: want 1 to 63 of a-z, 0-9 and inner hyphens", ErrMalformed, clip(s))
	}
	return OrgID(s), nil
}

// AgentID names an agent everywhere: "agent:acme/researcher". It does not check its arguments; ParseAgentID does.
func AgentID(org OrgID, name string) string { return agentPrefix + string(org) + "/" + name }

// ParseAgentID splits what AgentID made. The error wraps ErrMalformed.
func ParseAgentID(id string) (OrgID, string, error) {
	org, name, ok := cutID(id, agentPrefix)
	if !ok {
		return "", "", fmt.Errorf("%w: agent id %q: want agent:ORG/NAME", ErrMalformed, clip(id))
	}
	return org, name, nil
}

// ServiceID names a service account, a subject that is no person: "service:acme/reporting". It does not check its
// arguments; ParseServiceID does.
func ServiceID(org OrgID, name string) string { return servicePrefix + string(org) + "/" + name }

// ParseServiceID splits what ServiceID made. The error wraps ErrMalformed.
func ParseServiceID(id string) (OrgID, string, error) {
	org, name, ok := cutID(id, servicePrefix)
	if !ok {
		return "", "", fmt.Errorf("%w: service id %q: want service:ORG/NAME", ErrMalformed, clip(id))
	}
	return org, name, nil
}

// cutID splits an id of a prefix, an org and a name, both of them labels.
func cutID(id, prefix string) (OrgID, string, bool) {
	rest, ok := strings.CutPrefix(id, prefix)
	org, name, found := strings.Cut(rest, "/")
	return OrgID(org), name, ok && found && isLabel(org) && isLabel(name)
}

// subjectOrg is the org of a subject, which is a UserID or a ServiceID.
func subjectOrg(id string) (OrgID, error) {
	if strings.HasPrefix(id, servicePrefix) {
		org, _, err := ParseServiceID(id)
		return org, err
	}
	org, _, _, err := ParseUserID(id)
	return org, err
}

// ClientID is the OAuth client of an agent: "acme.researcher". It does not check its arguments; ParseClientID does.
func ClientID(org OrgID, agent string) string { return string(org) + "." + agent }

// ParseClientID splits what ClientID made. The error wraps ErrMalformed.
func ParseClientID(id string) (OrgID, string, error) {
	org, name, found := strings.Cut(id, ".")
	if !found || !isLabel(org) || !isLabel(name) {
		return "", "", fmt.Errorf("%w: client id %q: want ORG.NAME", ErrMalformed, clip(id))
	}
	return OrgID(org), name, nil
}

// UserID names a user of an org by the org's name for the issuer and the issuer's own sub: "user:acme/okta|00u1". The sub
// is 1 to 255 printable ASCII characters, and is kept byte for byte. The error wraps ErrMalformed.
func UserID(org OrgID, issuer, sub string) (string, error) {
	if !isLabel(string(org)) || !isLabel(issuer) {
		return "", fmt.Errorf("%w: user of org %q, issuer %q", ErrMalformed, clip(string(org)), clip(issuer))
	}
	if sub == "" || len(sub) > maxSubject || !isPrintable(sub) {
		return "", fmt.Errorf("%w: sub %q: want 1 to 255 printable ASCII characters", ErrMalformed, clip(sub))
	}
	return userPrefix + string(org) + "/" + issuer + "|" + sub, nil
}

// ParseUserID splits what UserID made. The error wraps ErrMalformed.
func ParseUserID(id string) (org OrgID, issuer, sub string, err error) {
	rest, ok := strings.CutPrefix(id, userPrefix)
	o, rest, slash := strings.Cut(rest, "/")
	issuer, sub, bar := strings.Cut(rest, "|")
	if !ok || !slash || !bar {
		return "", "", "", fmt.Errorf("%w: user id %q: want user:ORG/ISSUER|SUB", ErrMalformed, clip(id))
	}
	if _, err := UserID(OrgID(o), issuer, sub); err != nil {
		return "", "", "", err
	}
	return OrgID(o), issuer, sub, nil
}

// isLabel reports whether s has the alphabet of an org id.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// isPrintable reports whether s is ASCII from space to tilde.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// clip keeps what an error quotes short.
func clip(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
