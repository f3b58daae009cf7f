package exchange

import (
	"context"
	"slices"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/store"
)

// UserStore finds the people of an org's directory.
type UserStore interface {
	Users(ctx context.Context, q store.UserQuery) ([]store.User, int, error)
	Groups(ctx context.Context, q store.GroupQuery) ([]store.Group, int, error)
}

// enrolled holds a login against the org's directory: who was deactivated there or is not in it logs in no more, whatever the
// issuer says, and the groups that it has somebody in count beside those of the login. It is read at every login, and not
// remembered: a deactivation is in force for the next one. The error is a flaw, an *Error or the context's.
func (s *Service) enrolled(ctx context.Context, org *registry.Org, l *login) (*login, error) {
	d, ok := org.Directory()
	if !ok {
		return l, nil
	}
	_, issuer, sub, err := delegation.ParseUserID(l.subject.ID)
	switch {
	case err != nil || s.cfg.Users == nil:
		return nil, refuse(Internal, "", err, "")
	case issuer != d.Issuer:
		return l, nil
	}
	users := s.cfg.Users(org.ID())
	who := store.UserQuery{ExternalID: sub, Limit: 1}
	if d.Subject == registry.AttributeUserName {
		who = store.UserQuery{UserName: sub, Limit: 1}
	}
	found, _, err := users.Users(ctx, who)
	if err != nil {
		return nil, awayOr(ctx, err)
	}
	known := false
	if len(found) == 1 { // a user name is found whatever its case, and a sub is one in one case alone
		id, _ := d.SubjectOf(org.ID(), found[0].UserName, found[0].ExternalID)
		known = id == l.subject.ID
	}
	switch {
	case !known && d.AllowUnknown:
		return l, nil
	case !known:
		return nil, flaw("its user is not in the org's directory: let the identity provider provision it")
	case !found[0].Active:
		return nil, flaw("its user was deactivated in the org's directory")
	}
	groups, _, err := users.Groups(ctx, store.GroupQuery{Member: found[0].ID, Limit: maxGroups + 1})
	if err != nil {
		return nil, awayOr(ctx, err)
	}
	out := *l // the login may be remembered, and its groups are not
	out.subject.Groups = slices.Clone(l.subject.Groups)
	for _, g := range groups {
		out.subject.Groups = append(out.subject.Groups, g.DisplayName)
	}
	slices.Sort(out.subject.Groups)
	if out.subject.Groups = slices.Compact(out.subject.Groups); len(out.subject.Groups) > maxGroups {
		return nil, flaw("its user is in more than 64 groups, of the org's directory and the groups claim: assign fewer")
	}
	return &out, nil
}

// addressee is the user's id that an e-mail address is of in the org's directory, as far as it is of the stream's issuer: none when
// it is nobody's primary address, or several users'. Inactive users count: what was delegated in their names can be older.
func (s *Service) addressee(ctx context.Context, org *registry.Org, stream *registry.Stream, email string) (string, error) {
	d, ok := org.Directory()
	if email == "" || !ok || d.Issuer != stream.Of.Name || s.cfg.Users == nil {
		return "", nil
	}
	found, _, err := s.cfg.Users(org.ID()).Users(ctx, store.UserQuery{Email: email, Limit: 2})
	if err != nil {
		return "", awayOr(ctx, err)
	}
	if len(found) != 1 {
		return "", nil
	}
	id, _ := d.SubjectOf(org.ID(), found[0].UserName, found[0].ExternalID)
	return id, nil
}

func awayOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return unavailable(err, "the org's directory cannot be read now")
}
