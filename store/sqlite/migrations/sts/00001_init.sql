-- +goose Up
-- Times are microseconds since 1970 in UTC. Text compares byte for byte (BINARY), so ids are case-sensitive.

CREATE TABLE configs (
    org      TEXT    NOT NULL CHECK (org <> ''),
    version  INTEGER NOT NULL CHECK (version > 0),
    document BLOB    NOT NULL,
    created  INTEGER NOT NULL,
    PRIMARY KEY (org, version)
) STRICT;

CREATE TABLE client_secrets (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    org      TEXT    NOT NULL CHECK (org <> ''),
    agent    TEXT    NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    created  INTEGER NOT NULL,
    UNIQUE (org, agent, hash)
) STRICT;

CREATE TABLE consumed (
    org   TEXT    NOT NULL CHECK (org <> ''),
    key   BLOB    NOT NULL CHECK (length(key) = 32),
    until INTEGER NOT NULL,
    PRIMARY KEY (org, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX consumed_until ON consumed (until);

-- AUTOINCREMENT: a number is never given twice, even when the newest row is purged.
CREATE TABLE changes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    org      TEXT    NOT NULL CHECK (org <> ''),
    kind     TEXT    NOT NULL
) STRICT;

CREATE TABLE revocations (
    sequence INTEGER PRIMARY KEY REFERENCES changes (sequence),
    org      TEXT    NOT NULL CHECK (org <> ''),
    kind     TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    before   INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    reason   TEXT    NOT NULL
) STRICT;
CREATE INDEX revocations_org ON revocations (org);
CREATE INDEX revocations_until ON revocations (until);

CREATE TABLE signing_keys (
    position   INTEGER PRIMARY KEY,
    kid        TEXT    NOT NULL UNIQUE,
    algorithm  TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    public     BLOB    NOT NULL,
    published  INTEGER NOT NULL,
    activate   INTEGER NOT NULL,
    deactivate INTEGER NOT NULL,
    remove     INTEGER NOT NULL
) STRICT;

CREATE TABLE signing_generation (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO signing_generation VALUES (1, 0);

CREATE TABLE audit (
    sequence       INTEGER PRIMARY KEY AUTOINCREMENT,
    org            TEXT    NOT NULL CHECK (org <> ''),
    action_id      TEXT    NOT NULL,
    transaction_id TEXT    NOT NULL,
    time           INTEGER NOT NULL,
    body           BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_org ON audit (org);
CREATE INDEX audit_transaction ON audit (org, transaction_id);
-- Only the action ids that do not begin with their transaction: the others are found by it.
CREATE INDEX audit_action ON audit (org, action_id)
    WHERE substr(action_id, 1, length(transaction_id) + 1) <> transaction_id || '.';

-- +goose StatementBegin
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is append-only'); END;
-- +goose StatementEnd
