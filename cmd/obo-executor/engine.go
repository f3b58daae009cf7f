package main

import (
	"context"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/executor/notify"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/postgres"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/vault"
)

// database is what both engines have in common.
type database interface {
	audit.Appender
	Orgs(ctx context.Context) ([]delegation.OrgID, error)
	DueConnections(ctx context.Context, now time.Time, limit int) ([]store.OrgConnection, error)
	DueWebhooks(ctx context.Context, now time.Time, limit int) ([]delegation.OrgID, error)
	PurgeExpired(ctx context.Context, now time.Time) error
	Ping(ctx context.Context) error
	Close() error
}

// orgStore is one org's part of a database.
type orgStore interface {
	vault.DataKeyStore
	vault.RotateStore
	connection.ConnectorStore
	connection.ClientStore
	connection.ThemeStore
	connection.ProviderStore
	executor.Connections
	notify.Store
	notify.Puts
	executor.Proofs
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
		db, err := sqlite.OpenExecutor(ctx, path)
		if err != nil {
			return engine{}, err
		}
		return engineOf("sqlite", db), nil
	}
	db, err := postgres.OpenExecutor(ctx, cfg.URL.Reveal())
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
