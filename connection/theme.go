package connection

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// ThemeStore is how one org's pages look. PutTheme MUST answer store.ErrConflict unless the version is the stored one plus 1, and Theme
// store.ErrNotFound when there is none.
type ThemeStore interface {
	Theme(ctx context.Context) (store.Theme, error)
	PutTheme(ctx context.Context, t store.Theme) error
}

// Themes keeps how the pages of all orgs look.
type Themes struct {
	Org func(delegation.OrgID) ThemeStore
	Now func() time.Time
}

var color = regexp.MustCompile(`^#[0-9a-f]{6}$`)

const (
	maxThemeName = 60
	// contrast is what text needs on its background (WCAG 2.2, 1.4.3).
	contrast = 4.5
)

// Propose checks a theme, and says what storing it would come to. Empty members are ours again. Errors wrap ErrInvalid.
func (t Themes) Propose(ctx context.Context, org delegation.OrgID, name, accent string) (before, after store.Theme, err error) {
	if len(name) > maxThemeName || strings.TrimSpace(name) != name || strings.ContainsFunc(name, control) {
		return before, after, fmt.Errorf("%w: name must be at most %d bytes of one line", ErrInvalid, maxThemeName)
	}
	if accent != "" && !color.MatchString(accent) {
		return before, after, fmt.Errorf("%w: accent must be a color such as #1d4ed8", ErrInvalid)
	}
	if accent != "" && onWhite(accent) < contrast {
		return before, after, fmt.Errorf("%w: accent has a contrast of %.1f to white, and needs %.1f to be read: take a darker one",
			ErrInvalid, onWhite(accent), contrast)
	}
	before, err = t.Org(org).Theme(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return before, after, err
	}
	return before, store.Theme{
		Name: name, Accent: accent, Version: before.Version + 1, Updated: t.Now().UTC().Truncate(time.Microsecond),
	}, nil
}

// Put stores what was proposed.
func (t Themes) Put(ctx context.Context, org delegation.OrgID, theme store.Theme) error {
	return t.Org(org).PutTheme(ctx, theme)
}

// Get is the org's theme; a zero one when it has none.
func (t Themes) Get(ctx context.Context, org delegation.OrgID) (store.Theme, error) {
	theme, err := t.Org(org).Theme(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return store.Theme{}, nil
	}
	return theme, err
}

// onWhite is the contrast of a color to white (WCAG 2.2, contrast ratio).
func onWhite(hex string) float64 {
	light := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, _ := strconv.ParseUint(hex[1+2*i:3+2*i], 16, 8) // color has matched
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		light += weight * c
	}
	return 1.05 / (light + 0.05)
}
