package executorgrpc

import (
	"strings"

	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// codes are the error codes of a challenge (RFC 6750 section 3.1, RFC 9449 section 7.1). A refusal that is not among them is
// not about the token.
var codes = map[executor.Reason]string{
	executor.InvalidToken:      "invalid_token",
	executor.InvalidProof:      "invalid_dpop_proof",
	executor.UseNonce:          "use_dpop_nonce",
	executor.InsufficientScope: "insufficient_scope",
}

// ProofAlgorithms are those that a DPoP proof may be signed with.
func ProofAlgorithms() []string {
	return []string{string(jose.ES256), string(jose.EdDSA), string(jose.Ed25519), string(jose.PS256), string(jose.RS256)}
}

// Challenges are the values of WWW-Authenticate that go with a refusal: one for each scheme, the error with the one that the
// caller used. A caller that presented nothing (no scheme) learns how to, and of no error (MD8). metadata is the URL of the
// protected resource metadata (MD7).
func Challenges(scheme string, e *executor.Error, metadata string) []string {
	code, ok := codes[e.Reason]
	if !ok {
		return nil
	}
	bearer, dpop := challenge{scheme: "Bearer"}, challenge{scheme: "DPoP"}
	used := &bearer
	if strings.EqualFold(scheme, dpop.scheme) {
		used = &dpop
	}
	if scheme != "" {
		used.add("error", code)
		used.add("error_description", grpcerr.Clean(e.Description))
		used.add("scope", e.Scope)
	}
	dpop.add("algs", strings.Join(ProofAlgorithms(), " "))
	bearer.add("resource_metadata", metadata)
	dpop.add("resource_metadata", metadata)
	return []string{bearer.String(), dpop.String()}
}

// challenge is one scheme and its parameters.
type challenge struct {
	scheme     string
	parameters []string
}

// add quotes a value that has no quotation mark and no backslash in it.
func (c *challenge) add(name, value string) {
	if value != "" {
		c.parameters = append(c.parameters, name+`="`+value+`"`)
	}
}

func (c *challenge) String() string {
	return strings.TrimSpace(c.scheme + " " + strings.Join(c.parameters, ", "))
}
