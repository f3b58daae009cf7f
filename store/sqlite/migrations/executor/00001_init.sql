-- +goose Up
-- Times are microseconds since 1970 in UTC. Text compares byte for byte (BINARY), so ids are case-sensitive.

CREATE TABLE data_keys (
    org     TEXT    NOT NULL PRIMARY KEY CHECK (org <> ''),
    sealed  BLOB    NOT NULL,
    version INTEGER NOT NULL
) STRICT;

CREATE TABLE connections (
    org           TEXT    NOT NULL CHECK (org <> ''),
    id            TEXT    NOT NULL,
    provider      TEXT    NOT NULL,
    pattern       TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    status_reason TEXT    NOT NULL,
    version       INTEGER NOT NULL CHECK (version > 0),
    sealed        BLOB    NOT NULL,
    created       INTEGER NOT NULL,
    updated       INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
-- What a call may spend: a user's own and the org's, however many users there are.
CREATE INDEX connections_subject ON connections (org, provider, subject, id);

CREATE TABLE providers (
    org  TEXT NOT NULL CHECK (org <> ''),
    name TEXT NOT NULL,
    text BLOB NOT NULL,
    PRIMARY KEY (org, name)
) STRICT;

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
