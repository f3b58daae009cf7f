package executor

import (
	"context"
	"fmt"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/store"
)

// PutThemeRequest is how an org's pages look.
type PutThemeRequest struct {
	Org, Name, Accent string
	ExpectedVersion   *int64 // that the caller saw, 0 when there was none; nil: whatever there is
	DryRun            bool   // check everything, and say what would be
}

// PutTheme replaces how the org's pages look, and answers with how they look then.
func (a Session) PutTheme(ctx context.Context, req PutThemeRequest) (store.Theme, error) {
	id, err := orgID(req.Org)
	if err != nil {
		return store.Theme{}, err
	}
	before, after, err := a.Themes.Propose(ctx, id, req.Name, req.Accent)
	if err != nil {
		return store.Theme{}, adminError(err)
	}
	if req.ExpectedVersion != nil && *req.ExpectedVersion != before.Version {
		return store.Theme{}, &Error{Reason: Conflict, Description: fmt.Sprintf(
			"the theme has version %d, and not version %d, which the change was made of: read it, and send the change with that version",
			before.Version, *req.ExpectedVersion)}
	}
	if req.DryRun {
		return after, nil
	}
	change := change{org: id, what: "change how the org's pages look", changes: []audit.Change{{
		Path: "theme", Before: themeText(before), After: themeText(after),
	}}}
	return after, a.change(ctx, change, func() error { return a.Themes.Put(ctx, id, after) })
}

// Theme is how the org's pages look; version 0 stands for ours.
func (a *Admin) Theme(ctx context.Context, org string) (store.Theme, error) {
	id, err := orgID(org)
	if err != nil {
		return store.Theme{}, err
	}
	theme, err := a.Themes.Get(ctx, id)
	return theme, adminError(err)
}

// themeText is empty for none.
func themeText(t store.Theme) string {
	if t.Version == 0 {
		return ""
	}
	return text(struct {
		Name    string `json:"name"`
		Accent  string `json:"accent"`
		Version int64  `json:"version"`
	}{t.Name, t.Accent, t.Version})
}
