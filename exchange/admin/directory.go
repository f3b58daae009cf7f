package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// ErrTaken says that somebody else in the directory has that name.
var ErrTaken = errors.New("admin: taken")

// errNoProvider is all that somebody learns who has no token of a directory: not whether there is such an org.
var errNoProvider = fmt.Errorf("%w: the token is not one of a directory here; `obo scim token` makes one", ErrForbidden)

// UserStore keeps the users of one org's directory. PutUser and DeleteUser MUST add the revocation in the same commit, or neither.
type UserStore interface {
	Users(ctx context.Context, q store.UserQuery) ([]store.User, int, error)
	PutUser(ctx context.Context, u store.User, end *store.Revocation) error
	DeleteUser(ctx context.Context, id string, version int64, end *store.Revocation) error
}

// GroupStore keeps its groups.
type GroupStore interface {
	Groups(ctx context.Context, q store.GroupQuery) ([]store.Group, int, error)
	Members(ctx context.Context, group string, limit int) ([]string, error)
	PutGroup(ctx context.Context, g store.Group, m store.Membership) error
	DeleteGroup(ctx context.Context, id string) error
}

// DirectoryStore keeps one org's directory.
type DirectoryStore interface {
	UserStore
	GroupStore
}

// The bounds of a directory's entries.
const (
	maxName     = 255 // bytes of a user name or an external id; delegation has the same for sub
	maxGroup    = 128 // bytes of a group's name, as in a groups claim
	maxDocument = 8 << 10
	maxTries    = 10 // of a change that others get in the way of
)

// RotateScimTokenRequest names an org.
type RotateScimTokenRequest struct {
	Org          delegation.OrgID
	DropPrevious bool // stop accepting the token before at once
	DryRun       bool // check, and say what would change
}

// RotateScimTokenResult shows the token, once.
type RotateScimTokenResult struct {
	Token   telemetry.Secret // ORG.SECRET; empty of a dry run
	Changes []registry.Change
}

// RotateScimToken makes a token with which the provider of the org's directory authenticates. Its hash is all that is kept. The
// one before goes on working until the next, unless it is dropped.
func (s Session) RotateScimToken(ctx context.Context, req RotateScimTokenRequest) (RotateScimTokenResult, error) {
	if err := orgID(req.Org); err != nil {
		return RotateScimTokenResult{}, err
	}
	org, err := s.org(ctx, req.Org)
	if err != nil {
		return RotateScimTokenResult{}, err
	}
	if _, ok := org.Directory(); !ok {
		return RotateScimTokenResult{}, fmt.Errorf("%w: org %s has no directory; add directory to its document first", ErrNotFound, req.Org)
	}
	token := string(req.Org) + "." + random()
	changes, err := s.renew(ctx, renewal{
		org: req.Org, client: registry.ScimClient, path: "directory/tokens", resource: "directory", what: "SCIM token",
		live: org.ScimTokens(), secret: token, drop: req.DropPrevious, dryRun: req.DryRun,
	})
	if err != nil || req.DryRun {
		token = ""
	}
	return RotateScimTokenResult{Token: telemetry.Secret(token), Changes: changes}, err
}

// Directory is an org's users and groups as its identity provider keeps them up to date. Every change is on the trail before it
// is made, by the provider.
type Directory struct {
	session Session
	store   DirectoryStore
	is      registry.Directory
}

// Directory opens the directory that a token is of: ORG.SECRET. It answers ErrForbidden for any other.
func (s *Service) Directory(ctx context.Context, token telemetry.Secret) (Directory, error) {
	id, _, _ := strings.Cut(token.Reveal(), ".")
	if _, err := delegation.ParseOrgID(id); err != nil {
		return Directory{}, errNoProvider
	}
	org, err := s.org(ctx, delegation.OrgID(id))
	switch {
	case errors.Is(err, ErrNotFound):
		return Directory{}, errNoProvider
	case err != nil:
		return Directory{}, err
	}
	is, ok := org.Directory()
	if !org.IsScimToken(sha256.Sum256([]byte(token.Reveal()))) || !ok {
		return Directory{}, errNoProvider
	}
	who := delegation.Administrator{Subject: "scim:" + id, OrgID: org.ID(), Role: "provisioner"} // no role that anybody could be given
	return Directory{session: s.As(who), store: s.cfg.Directory(org.ID()), is: is}, nil
}

// Org is whose directory it is.
func (d Directory) Org() delegation.OrgID { return d.session.who.OrgID }

// Users lists users, and how many there are on all pages.
func (d Directory) Users(ctx context.Context, q store.UserQuery) ([]store.User, int, error) {
	users, total, err := d.store.Users(ctx, q)
	if err != nil {
		return nil, 0, fmt.Errorf("admin: users of org %s: %w", d.Org(), err)
	}
	return users, total, nil
}

// User finds one user.
func (d Directory) User(ctx context.Context, id string) (store.User, error) {
	if uuid.Validate(id) != nil { // and no engine sees what it might choke on
		return store.User{}, fmt.Errorf("%w: user", ErrNotFound)
	}
	found, _, err := d.Users(ctx, store.UserQuery{ID: id, Limit: 1})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: user %q", ErrNotFound, clip(id))
	}
	if err != nil {
		return store.User{}, err
	}
	return found[0], nil
}

// CreateUser adds a user and gives it an id.
func (d Directory) CreateUser(ctx context.Context, u store.User) (store.User, error) {
	now := d.session.cfg.Now().UTC()
	u.Org, u.ID, u.Version, u.Created, u.Updated = d.Org(), uuid.NewString(), 1, now, now
	if err := checkUser(u); err != nil {
		return store.User{}, err
	}
	return u, d.putUser(ctx, store.User{}, u)
}

// ChangeUser changes a user by f, which may be called again when somebody else changes it at once. A change that changes
// nothing is not made.
func (d Directory) ChangeUser(ctx context.Context, id string, f func(store.User) (store.User, error)) (store.User, error) {
	for range maxTries {
		before, err := d.User(ctx, id)
		if err != nil {
			return store.User{}, err
		}
		after, err := f(before)
		if err != nil {
			return store.User{}, err
		}
		after.Org, after.ID, after.Version, after.Created = before.Org, before.ID, before.Version+1, before.Created
		after.Updated = d.session.cfg.Now().UTC()
		if sameUser(before, after) {
			return before, nil
		}
		if err := checkUser(after); err != nil {
			return store.User{}, err
		}
		if err = d.putUser(ctx, before, after); !errors.Is(err, ErrConflict) {
			return after, err
		}
	}
	return store.User{}, fmt.Errorf("%w: user %q is being changed by others: try again", ErrConflict, clip(id))
}

func sameUser(a, b store.User) bool {
	return a.UserName == b.UserName && a.ExternalID == b.ExternalID && a.Email == store.Fold(b.Email) && a.Active == b.Active &&
		string(a.Document) == string(b.Document)
}

// DeleteUser forgets a user, whose agents stop.
func (d Directory) DeleteUser(ctx context.Context, id string) error {
	for range maxTries {
		u, err := d.User(ctx, id)
		if err != nil {
			return err
		}
		end := d.ends(u, "deleted from the directory")
		gone := difference("users/"+u.ID, d.describe(u), nil)
		if err := d.session.record(ctx, d.Org(), "directory", "delete a user"+endOf(end), gone); err != nil {
			return err
		}
		err = d.store.DeleteUser(ctx, u.ID, u.Version, end)
		switch {
		case err == nil:
			return d.ended(ctx, end)
		case !errors.Is(err, store.ErrConflict):
			return fmt.Errorf("admin: delete user of org %s: %w", d.Org(), err)
		}
	}
	return fmt.Errorf("%w: user %q is being changed by others: try again", ErrConflict, clip(id))
}

// putUser stores what a user becomes. Who is deactivated, and who is from now on another subject, leaves: what was delegated in
// its name ends with the same commit, so that no login comes between the two.
func (d Directory) putUser(ctx context.Context, before, after store.User) error {
	was, _ := d.is.SubjectOf(d.Org(), before.UserName, before.ExternalID)
	will, _ := d.is.SubjectOf(d.Org(), after.UserName, after.ExternalID)
	var end *store.Revocation
	switch {
	case !before.Active && !after.Active && was != will: // who was not known until now may have logged in
		end = d.ends(after, "inactive in the directory")
	case before.Active && !after.Active:
		end = d.ends(before, "deactivated in the directory")
	case before.ID != "" && was != will: // the name may come to be somebody else's
		end = d.ends(before, "is another subject in the directory now")
	}
	verb, changes := "change a user", difference("users/"+after.ID, d.describe(before), d.describe(after))
	if before.ID == "" {
		verb, changes = "create a user", difference("users/"+after.ID, nil, d.describe(after))
	}
	if err := d.session.record(ctx, d.Org(), "directory", verb+endOf(end), changes); err != nil {
		return err
	}
	switch err := d.store.PutUser(ctx, after, end); {
	case errors.Is(err, store.ErrTaken):
		return fmt.Errorf("%w: another user has that userName or externalId", ErrTaken)
	case errors.Is(err, store.ErrConflict):
		return fmt.Errorf("%w: somebody else was faster", ErrConflict)
	case err != nil:
		return fmt.Errorf("admin: put user of org %s: %w", d.Org(), err)
	}
	return d.ended(ctx, end)
}

// describe is what the trail keeps of a user: whom its agents act for, and whether they may. Names and addresses are in the
// directory, from which they can be deleted.
func (d Directory) describe(u store.User) any {
	subject, _ := d.is.SubjectOf(d.Org(), u.UserName, u.ExternalID)
	return struct {
		Subject string `json:"subject,omitempty"`
		Active  bool   `json:"active"`
		Version int64  `json:"version"`
	}{subject, u.Active, u.Version}
}

// ends is the entry that stops a user's agents, and marks its connections; nil for who cannot have logged in.
func (d Directory) ends(u store.User, why string) *store.Revocation {
	id, ok := d.is.SubjectOf(d.Org(), u.UserName, u.ExternalID)
	if !ok {
		return nil
	}
	s := d.session
	entry := revocation.New(d.Org(), revocation.Subject, id, why, s.cfg.Now(), s.remember(revocation.Subject))
	entry.Departed = true
	return &entry
}

func endOf(end *store.Revocation) string {
	if end == nil {
		return ""
	}
	return "; " + describe(*end)
}

// ended lets this replica act by a revocation at once. Until its commit the user could log in: when that took so long that a
// login may be younger than the entry, a second one ends it.
func (d Directory) ended(ctx context.Context, end *store.Revocation) error {
	if end == nil {
		return nil
	}
	s := d.session
	defer s.seen(ctx)
	now := s.cfg.Now()
	if !now.Add(revocation.Margin / 2).After(end.Before) {
		return nil
	}
	late := revocation.New(d.Org(), revocation.Subject, end.ID, end.Reason, now, s.remember(revocation.Subject))
	late.Departed = true
	if _, err := s.cfg.Revocations(d.Org()).Revoke(ctx, late); err != nil {
		return fmt.Errorf("admin: the change is made, but a login of its last seconds may live until it expires; revoke subject %s: %w", end.ID, err)
	}
	return nil
}

// oneLine is what a person may write on one line.
func oneLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func checkUser(u store.User) error {
	switch {
	case u.UserName == "" || len(u.UserName) > maxName || !oneLine(u.UserName):
		return fmt.Errorf("%w: userName must be 1 to %d bytes without control characters", ErrInvalid, maxName)
	case len(u.ExternalID) > maxName || !oneLine(u.ExternalID):
		return fmt.Errorf("%w: externalId must be at most %d bytes without control characters", ErrInvalid, maxName)
	case len(u.Email) > maxName || !oneLine(u.Email): // it is a key: an engine would choke on it
		return fmt.Errorf("%w: the primary email must be at most %d bytes without control characters", ErrInvalid, maxName)
	case len(u.Document) > maxDocument:
		return fmt.Errorf("%w: the attributes are larger than %d bytes", ErrInvalid, maxDocument)
	}
	return nil
}
