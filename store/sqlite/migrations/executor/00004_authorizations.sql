-- +goose Up
-- The org's registrations at providers, and at issuers where its users sign in.
CREATE TABLE clients (
    org       TEXT    NOT NULL CHECK (org <> ''),
    name      TEXT    NOT NULL,
    client_id TEXT    NOT NULL,
    settings  TEXT    NOT NULL, -- JSON
    version   INTEGER NOT NULL CHECK (version > 0),
    sealed    BLOB    NOT NULL,
    updated   INTEGER NOT NULL,
    PRIMARY KEY (org, name)
) STRICT;

-- Attempts to connect an account.
CREATE TABLE authorizations (
    org        TEXT    NOT NULL CHECK (org <> ''),
    id         TEXT    NOT NULL,
    connection TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    version    INTEGER NOT NULL CHECK (version > 0),
    scopes     TEXT    NOT NULL, -- JSON
    agent      TEXT    NOT NULL,
    browser    BLOB    NOT NULL,
    sealed     BLOB    NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX authorizations_expires ON authorizations (expires);
