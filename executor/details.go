package executor

import (
	"strings"

	"github.com/onbehalf/obo/delegation/rar"
)

// cover finds the authorization_details that cover the very arguments of this call, by type (EX8). A token whose details the
// org's types no longer read covers nothing, for any tool: what a type bounded must not be unbounded once it is forgotten.
func (c *call) cover(types rar.Types) (map[string]rar.Detail, error) {
	raw := c.verified.Claims().AuthorizationDetails
	if len(raw) > 0 {
		if _, err := types.Parse(raw); err != nil {
			return nil, uncovered("the token's authorization_details are not of the types that the org has now", rar.ErrDetails, err)
		}
	}
	covering, err := types.Cover(raw, c.tool.Name(), c.args.JSON())
	if err != nil {
		return nil, uncovered("the token's authorization_details do not cover this call", rar.ErrNotCovered, err)
	}
	return covering, nil
}

// uncovered says what is the matter in the words of package rar, which name the type and the field.
func uncovered(what string, sentinel, err error) *Error {
	why := strings.TrimPrefix(err.Error(), sentinel.Error()+": ")
	return &Error{Reason: AccessDenied, Description: what + ": " + why, cause: err}
}
