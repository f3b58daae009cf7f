package admin

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// RevokeRequest is one entry.
type RevokeRequest struct {
	Org    delegation.OrgID
	Kind   string // one of revocation.Kind
	ID     string // a jti, txn, sub, sid, agent name or id, client_id, org id or connection id
	Reason string // for people; at most 256 bytes

	Provider string    // only tokens with a scope of this provider; empty: all
	Since    time.Time // only tokens issued at or after; zero: all
	Departed bool      // the subject has left for good: its connections end too
	DryRun   bool      // check, and change nothing
}

// maxReason is the longest reason, in bytes.
const maxReason = 256

// Revoke refuses tokens of one key from now on, and answers with the entry as it is in force. A dry run answers with the entry
// that would be, without a sequence number.
//
// It stops tokens, and every login that is older. It does not keep an agent from asking again for a user who logs in anew;
// for that the agent is disabled in the configuration.
func (s Session) Revoke(ctx context.Context, req RevokeRequest) (store.Revocation, error) {
	entry, err := s.entry(req)
	if err != nil || req.DryRun {
		return entry, err
	}
	if err := s.record(ctx, req.Org, "revocations", describe(entry), entryChange(entry)); err != nil {
		return store.Revocation{}, err
	}
	if entry.Sequence, err = s.cfg.Revocations(req.Org).Revoke(ctx, entry); err != nil {
		return store.Revocation{}, fmt.Errorf("admin: revoke: %w", err)
	}
	s.seen(ctx)
	return entry, nil
}

// describe is an entry, for the trail.
func describe(e store.Revocation) string {
	text := fmt.Sprintf("revoke %s %s", e.Kind, e.ID)
	if e.Scope != "" {
		text += ", of scopes " + e.Scope
	}
	if !e.Since.IsZero() {
		text += ", issued since " + e.Since.Format(time.RFC3339)
	}
	if e.Departed {
		text += ", who has left"
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// entry is what a request asks for, as of now.
func (s *Service) entry(req RevokeRequest) (store.Revocation, error) {
	if req.Org != store.PlatformOrg { // whose administrators are the operators
		if err := orgID(req.Org); err != nil {
			return store.Revocation{}, err
		}
	}
	kind, err := revocation.ParseKind(req.Kind)
	if err != nil || kind == revocation.Key { // no org's to revoke: RotateKeys
		return store.Revocation{}, fmt.Errorf(
			"%w: kind must be token, transaction, subject, session, agent, client, org or connection", ErrInvalid)
	}
	id, ok := key(req.Org, kind, req.ID)
	switch {
	case req.Org == store.PlatformOrg && (kind != revocation.Subject || !ok):
		return store.Revocation{}, fmt.Errorf("%w: without an org, only a subject can be revoked that is an operator: operator:ISSUER|SUB", ErrInvalid)
	case !ok:
		return store.Revocation{}, fmt.Errorf("%w: id does not name a %s of org %s", ErrInvalid, kind, req.Org)
	}
	if len(req.Reason) > maxReason || !printable(req.Reason) {
		return store.Revocation{}, fmt.Errorf("%w: reason must be at most %d printable characters", ErrInvalid, maxReason)
	}
	entry := revocation.New(req.Org, kind, id, req.Reason, s.cfg.Now(), s.remember(kind))
	switch {
	case req.Departed && kind != revocation.Subject:
		return store.Revocation{}, fmt.Errorf("%w: departed is of a subject", ErrInvalid)
	case kind == revocation.Connection && req.Provider != "":
		return store.Revocation{}, fmt.Errorf("%w: provider: a connection has one; leave it out", ErrInvalid)
	case req.Provider != "" && !provider.MatchString(req.Provider):
		return store.Revocation{}, fmt.Errorf("%w: provider must be a name such as github, which its scopes begin with", ErrInvalid)
	case !req.Since.IsZero() && (kind == revocation.Token || kind == revocation.Transaction || kind == revocation.Connection):
		return store.Revocation{}, fmt.Errorf("%w: since: a %s is refused whenever it was issued; leave it out", ErrInvalid, kind)
	case req.Since.After(s.cfg.Now()):
		return store.Revocation{}, fmt.Errorf("%w: since must not be in the future", ErrInvalid)
	case req.Provider != "":
		entry.Scope = req.Provider + ":"
	}
	entry.Since, entry.Departed = req.Since, req.Departed
	return entry, nil
}

// provider is a provider's name, as in connection's records.
var provider = regexp.MustCompile("^[a-z][a-z0-9_-]{0,31}$")

// RevokeToken implements exchange.Revoker: a client's own wish, on the trail before it takes effect, in force on this replica
// when the call returns.
func (s *Service) RevokeToken(ctx context.Context, v delegation.Verified, clientID string) error {
	org := v.OrgID()
	entry := revocation.New(org, revocation.Token, v.ID(), "asked for by its client", s.cfg.Now(), s.remember(revocation.Token))
	err := s.cfg.Audit.Record(ctx, audit.Record{
		ActionID: string(org) + "." + rand.Text(), Kind: audit.KindAdmin, Outcome: audit.OutcomeApproved, Org: org, Time: s.cfg.Now(),
		Transaction: v.Transaction(), TokenID: v.ID(), Subject: v.Subject(), Chain: v.Chain(), Lineage: v.Claims().Lineage,
		ClientID: clientID, Resource: "revocations", Detail: "revoke token " + v.ID() + ": asked for by its client",
		Changes: recorded(entryChange(entry)), TraceID: telemetry.TraceID(ctx),
	})
	if err != nil {
		return fmt.Errorf("admin: the revocation cannot be recorded, so it is not made: %w", err)
	}
	if _, err := s.cfg.Revocations(org).Revoke(ctx, entry); err != nil {
		return fmt.Errorf("admin: revoke: %w", err)
	}
	s.seen(ctx)
	return nil
}

// SignOut implements exchange.Revoker: an administrator's own wish, which ends that token and no other.
func (s *Service) SignOut(ctx context.Context, who delegation.Administrator) error {
	entry := revocation.New(who.OrgID, revocation.Token, who.ID, "signed out", s.cfg.Now(), max(s.cfg.MaxLife, delegation.MaxAdministratorLife))
	if err := s.As(who).record(ctx, who.OrgID, "sign-out", "revoke token "+who.ID+": signed out", entryChange(entry)); err != nil {
		return err
	}
	if _, err := s.cfg.Revocations(who.OrgID).Revoke(ctx, entry); err != nil {
		return fmt.Errorf("admin: revoke: %w", err)
	}
	s.seen(ctx)
	return nil
}

var _ exchange.Revoker = (*Service)(nil)

// remember is how long an entry must be kept: as long as any token that it refuses, or any login that could bring back what
// it refuses.
func (s *Service) remember(kind revocation.Kind) time.Duration {
	switch kind {
	case revocation.Token, revocation.Transaction:
		return s.cfg.MaxLife
	default:
		return max(s.cfg.MaxLife, exchange.MaxLoginAge)
	}
}

// ListRevocations lists an org's live entries after a sequence number, oldest first, at most limit, which is at most store.MaxPage.
func (s *Service) ListRevocations(ctx context.Context, org delegation.OrgID, after uint64, limit int) ([]store.Revocation, error) {
	if org != store.PlatformOrg { // of which are operators, and keys that were given up
		if err := orgID(org); err != nil {
			return nil, err
		}
	}
	entries, err := s.cfg.Revocations(org).RevocationsPage(ctx, after, s.cfg.Now(), limit)
	if err != nil {
		return nil, fmt.Errorf("admin: revocations of org %s: %w", org, err)
	}
	return entries, nil
}

// key is the claim's value that an entry of the kind is compared with. What names somebody of another org is no key here: it
// would be written down and refuse nothing. The agent, client or user need not be registered any more.
func key(org delegation.OrgID, kind revocation.Kind, id string) (string, bool) {
	if id == "" || len(id) > 512 || !printable(id) && kind != revocation.Session {
		return "", false
	}
	of := org
	var err error
	switch kind {
	case revocation.Agent:
		if !strings.Contains(id, ":") {
			id = delegation.AgentID(org, id)
		}
		of, _, err = delegation.ParseAgentID(id)
	case revocation.Client:
		of, _, err = delegation.ParseClientID(id)
	case revocation.Subject:
		if org == store.PlatformOrg {
			name, sub, named := strings.Cut(strings.TrimPrefix(id, exchange.OperatorPrefix), "|")
			return id, named && name != "" && sub != "" && strings.HasPrefix(id, exchange.OperatorPrefix)
		}
		if rest, ok := strings.CutPrefix(id, "workload:"); ok { // an administrator's: workload:ORG/ISSUER|SUB
			name, _, named := strings.Cut(rest, "/")
			return id, named && delegation.OrgID(name) == org
		}
		if of, _, err = delegation.ParseServiceID(id); err != nil {
			of, _, _, err = delegation.ParseUserID(id)
		}
	case revocation.Org:
		of = delegation.OrgID(id)
	case revocation.Connection:
		_, err = delegation.ParseOrgID(id) // the same alphabet
	case revocation.Session: // an issuer's own text
		if !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
			return "", false
		}
	case revocation.Token, revocation.Transaction:
	}
	return id, err == nil && of == org
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
