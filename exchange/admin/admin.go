// Package admin changes what orgs are made of: configuration, client secrets, revocations, signing keys.
//
// Every change is in the audit trail before it is made: the record says that an operator's change was approved, and stays
// true if the process dies before making it. When a call returns, this replica acts by the change; the others hear of it by
// the feed.
package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// The reasons for which an administrator's request is refused. Compare with errors.Is. A document that is wrong is a
// *registry.InvalidError; anything else is a dependency that is away.
var (
	// ErrNotFound: no such org or agent.
	ErrNotFound = errors.New("admin: not found")
	// ErrConflict: the configuration in force is not the version that the caller saw, or somebody else was faster.
	ErrConflict = errors.New("admin: conflict")
	// ErrInvalid: a malformed argument; the text says which, and is safe to show.
	ErrInvalid = errors.New("admin: invalid")
	// ErrForbidden: the administrator's role does not allow what the change comes to.
	ErrForbidden = errors.New("admin: forbidden")
)

// ConfigStore keeps one org's configuration and client secrets. PutConfig MUST answer store.ErrConflict unless Version is one
// more than the stored one, and Config store.ErrNotFound when there is none.
type ConfigStore interface {
	Config(ctx context.Context) (store.OrgConfig, error)
	PutConfig(ctx context.Context, c store.OrgConfig) error
	PutClientSecret(ctx context.Context, s store.ClientSecret, keep int) error
}

// RevocationStore keeps one org's revocations, and the trail, which knows whom they hit.
type RevocationStore interface {
	AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error)
	Revoke(ctx context.Context, r store.Revocation) (uint64, error)
	Revocations(ctx context.Context, now time.Time) ([]store.Revocation, error)
	RevocationsPage(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error)
}

// Recorder is the audit trail. Record MUST NOT answer nil before the record is durable.
type Recorder interface {
	Record(ctx context.Context, r audit.Record) error
}

// Keys are the signing keys: *keys.Ring. Reload MUST act by what is revoked.
type Keys interface {
	keyReader
	keyChanger
	keyPreviewer
}

type keyReader interface {
	Keys() []keys.Info
	// Algorithms are those with which a key signs now, that of who chooses none first.
	Algorithms() []jose.Algorithm
}

type keyChanger interface {
	Reload(ctx context.Context) error
	Rotate(ctx context.Context) error
	Retire(ctx context.Context, kid string) error
	Import(ctx context.Context, req keys.ImportRequest) (kid string, err error)
}

// keyPreviewer says what a change would come to, and changes nothing.
type keyPreviewer interface {
	PreviewRotation(ctx context.Context) (keys.Preview, error)
	PreviewRetirement(ctx context.Context, kid string) (keys.Preview, error)
	PreviewImport(ctx context.Context, req keys.ImportRequest) (keys.Preview, error)
	PreviewLoss(ctx context.Context, kids []string) (keys.Preview, error)
}

// Config is what a Service needs. Nothing may be left out.
type Config struct {
	Orgs        func(ctx context.Context, after delegation.OrgID, limit int) ([]delegation.OrgID, error) // by id
	Config      func(delegation.OrgID) ConfigStore                                                       // store.PlatformOrg included
	Revocations func(delegation.OrgID) RevocationStore
	Activity    func(delegation.OrgID) ActivityStore
	Signals     func(delegation.OrgID) SignalStore
	Key         seal.Key // key-encryption key: of the credentials of polled streams
	Directory   func(delegation.OrgID) DirectoryStore
	Registry    *registry.Registry
	Audit       Recorder
	Keys        Keys
	Roles       *policy.Roles
	Sync        func(ctx context.Context) error // lets this replica see the change at once: (*revocation.Hub).Sync
	MaxLife     time.Duration                   // the longest life of any token, which bounds every revocation
	Now         func() time.Time
}

// Service administers. It is safe for many goroutines.
type Service struct {
	cfg   Config
	apply sync.Mutex // one configuration is checked against the others at a time
}

// New refuses a Config that lacks anything.
func New(cfg Config) (*Service, error) {
	if cfg.Orgs == nil || cfg.Config == nil || cfg.Revocations == nil || cfg.Activity == nil || cfg.Signals == nil || cfg.Key.IsZero() ||
		cfg.Directory == nil || cfg.Registry == nil || cfg.Audit == nil || cfg.Keys == nil || cfg.Roles == nil || cfg.Sync == nil ||
		cfg.MaxLife <= 0 || cfg.Now == nil {
		return nil, errors.New("admin: Config lacks Orgs, Config, Revocations, Activity, Signals, Key, Directory, Registry, Audit, Keys, " +
			"Roles, Sync, MaxLife or Now")
	}
	return &Service{cfg: cfg}, nil
}

// Session is the service as one administrator uses it. Only a session can change anything, so every change has a name to it.
type Session struct {
	*Service
	who delegation.Administrator
}

// As is the service for an administrator who has been authenticated, and allowed to make the call. The zero Administrator changes
// nothing: the trail would not say who did.
func (s *Service) As(who delegation.Administrator) Session { return Session{s, who} }

// may decides what only the change itself shows.
func (s Session) may(act string, to delegation.OrgID) bool {
	return s.cfg.Roles.Decide(s.who.Role, s.who.OrgID, act, to).Allowed
}

// ListOrgs lists by id the orgs after one, at most limit, which is at most store.MaxPage.
func (s *Service) ListOrgs(ctx context.Context, after delegation.OrgID, limit int) ([]delegation.OrgID, error) {
	ids, err := s.cfg.Orgs(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("admin: orgs: %w", err)
	}
	return ids, nil
}

// everyOrg lists all orgs by id.
func (s *Service) everyOrg(ctx context.Context) (all []delegation.OrgID, err error) {
	for after := delegation.OrgID(""); ; after = all[len(all)-1] {
		page, err := s.ListOrgs(ctx, after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < store.MaxPage {
			return all, nil
		}
	}
}

// record puts a change on the durable trail before it is made: who makes it, and what was before and will be after.
func (s Session) record(ctx context.Context, org delegation.OrgID, resource, detail string, changes []registry.Change) error {
	if s.who.Subject == "" {
		return fmt.Errorf("%w: nobody makes this change", ErrForbidden)
	}
	err := s.cfg.Audit.Record(ctx, audit.Record{
		ActionID: string(org) + "." + rand.Text(), Kind: audit.KindAdmin, Outcome: audit.OutcomeApproved, Org: org, Time: s.cfg.Now(),
		Transaction: s.who.ID, TokenID: s.who.ID, Administrator: s.who.Subject, Role: s.who.Role,
		Resource: resource, Detail: detail, Changes: recorded(changes),
		TraceID: telemetry.TraceID(ctx),
	})
	if err != nil {
		return fmt.Errorf("admin: the change cannot be recorded, so it is not made: %w", err)
	}
	return nil
}

// seen lets this replica catch up with what was just written. When it cannot, the write stands all the same; the replica
// hears of it later or, cut off from the store, goes stale and refuses.
func (s *Service) seen(ctx context.Context) { _ = s.cfg.Sync(ctx) }

// orgID checks an org id that a caller sent.
func orgID(id delegation.OrgID) error {
	if _, err := delegation.ParseOrgID(string(id)); err != nil {
		return fmt.Errorf("%w: org_id must be 1 to 63 of a-z, 0-9 and hyphen, without a hyphen at either end", ErrInvalid)
	}
	return nil
}
