package registry

import (
	"crypto/subtle"
	"slices"

	"github.com/onbehalf/obo/delegation"
)

// ScimClient is under which name the store keeps the tokens of the provider of an org's directory. No agent can have it.
const ScimClient = "_scim"

// Directory is the org's, if it has one.
func (o *Org) Directory() (Directory, bool) { return o.doc.Directory, o.doc.Directory.Issuer != "" }

// ScimTokens are the hashes of the live tokens of its provider, newest first. The caller must not change them.
func (o *Org) ScimTokens() [][32]byte { return o.scim }

// IsScimToken compares a hash with those of all live tokens, so that the time does not tell.
func (o *Org) IsScimToken(hash [32]byte) bool {
	match := 0
	for _, live := range o.scim {
		match |= subtle.ConstantTimeCompare(hash[:], live[:])
	}
	return match == 1
}

// SubjectOf is the id that somebody of the directory has as a subject, and false for who cannot log in.
func (d Directory) SubjectOf(org delegation.OrgID, userName, externalID string) (string, bool) {
	sub := externalID
	if d.Subject == AttributeUserName {
		sub = userName
	}
	id, err := delegation.UserID(org, d.Issuer, sub)
	return id, err == nil
}

func (v *validator) directory() {
	d := v.doc.Directory
	if d == (Directory{}) {
		return
	}
	known := slices.ContainsFunc(v.doc.Issuers, func(i Issuer) bool { return i.Name == d.Issuer })
	v.require(known, "directory/issuer", "%q is not in issuers", clip(d.Issuer))
	v.require(slices.Contains([]string{"", AttributeExternalID, AttributeUserName}, d.Subject), "directory/subject",
		"%q cannot be the sub of a login: %s or %s", clip(d.Subject), AttributeExternalID, AttributeUserName)
}

// reassignable claims come to name somebody else by and by (OpenID Connect Core section 5.7).
var reassignable = []string{"email", "preferred_username", "upn", "unique_name", "username", "name", "nickname", "phone_number"}

func (v *validator) subjectClaim(path string, is Issuer) {
	path += "/subject_claim"
	v.meaningful(path, is.SubjectClaim)
	v.require(!slices.Contains(reassignable, is.SubjectClaim), path,
		"%q can be given to somebody else, who would take over what was delegated: use one that is never used again", is.SubjectClaim)
	asserts := slices.Contains(is.TokenTypes, TokenTypeAssertion) || slices.Contains(is.TokenTypes, TokenTypeIDJAG)
	v.require(is.SubjectClaim == "" || !asserts, path, "is for logins; an assertion (jwt-bearer, id-jag) names its subject by sub")
}
