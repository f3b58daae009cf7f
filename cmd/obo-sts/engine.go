package main

import (
	"context"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/poller"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/postgres"
	"github.com/onbehalf/obo/store/sqlite"
)

// database is what both engines have in common.
type database interface {
	revocation.ChangeStore
	revocation.RosterStore
	audit.Appender
	keys.Store
	maintenance
}

type maintenance interface {
	Orgs(ctx context.Context) ([]delegation.OrgID, error)
	OrgsPage(ctx context.Context, after delegation.OrgID, limit int) ([]delegation.OrgID, error)
	PurgeExpired(ctx context.Context, now time.Time) error
	Ping(ctx context.Context) error
	Close() error
}

// orgStore is one org's part of a database.
type orgStore interface {
	registry.OrgStore
	admin.ConfigStore
	admin.RevocationStore
	admin.ActivityStore
	admin.SignalStore
	poller.Store
	signals.ResealStore
	admin.DirectoryStore
	exchange.ActivityStore
	exchange.Assertions
	trail
}

type trail interface {
	AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error)
}

// engine is the database that the configuration chose.
type engine struct {
	database
	name string
	org  func(delegation.OrgID) orgStore
}

// openEngine opens it, and brings its schema up to date.
func openEngine(ctx context.Context, cfg config.Store) (engine, error) {
	if path, ok := cfg.SQLitePath(); ok {
		db, err := sqlite.OpenSTS(ctx, path)
		if err != nil {
			return engine{}, err
		}
		return engineOf("sqlite", db), nil
	}
	db, err := postgres.OpenSTS(ctx, cfg.URL.Reveal())
	if err != nil {
		return engine{}, err
	}
	return engineOf("postgres", db), nil
}

// engineOf is for any database, whatever concrete type its Org answers with.
func engineOf[O orgStore](name string, db interface {
	database
	Org(id delegation.OrgID) O
}) engine {
	return engine{database: db, name: name, org: func(id delegation.OrgID) orgStore { return db.Org(id) }}
}
