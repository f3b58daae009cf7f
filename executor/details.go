package executor

import (
	"errors"
	"strings"

	"github.com/onbehalf/obo/delegation/rar"
)

// cover finds the authorization_details that cover the very arguments of this call, by type (EX8). A token whose details the
// org's types no longer read covers nothing: what a forgotten type bounded must not become unbounded.
func (c *call) cover(types rar.Types) (map[string]rar.Detail, error) {
	raw := c.verified.Claims().AuthorizationDetails
	if len(raw) == 0 && !types.Governs(c.tool.Name()) {
		return nil, nil
	}
	covering, err := types.Cover(raw, c.tool.Name(), c.args.JSON())
	switch {
	case err == nil:
		return covering, nil
	case errors.Is(err, rar.ErrDetails):
		return nil, &Error{Reason: AccessDenied, cause: err,
			Description: "the token's authorization_details are not of the types that the org has now: " + reason(err)}
	}
	return nil, &Error{Reason: AccessDenied, cause: err, Description: "the token's authorization_details do not cover this call: " + reason(err)}
}

// reason is what package rar says, which names the type and the field.
func reason(err error) string { return strings.TrimPrefix(err.Error(), "rar: ") }
