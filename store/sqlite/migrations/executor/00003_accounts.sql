-- +goose Up
-- Connected accounts: what is known of a connection besides its credential.
ALTER TABLE connections ADD COLUMN account  TEXT    NOT NULL DEFAULT '';
ALTER TABLE connections ADD COLUMN hint     TEXT    NOT NULL DEFAULT '';
ALTER TABLE connections ADD COLUMN scopes   TEXT    NOT NULL DEFAULT 'null'; -- JSON
ALTER TABLE connections ADD COLUMN settings TEXT    NOT NULL DEFAULT 'null'; -- JSON
ALTER TABLE connections ADD COLUMN expires  INTEGER NOT NULL DEFAULT -62135596800000000;
ALTER TABLE connections ADD COLUMN renew    INTEGER NOT NULL DEFAULT -62135596800000000;
ALTER TABLE connections ADD COLUMN due      INTEGER NOT NULL DEFAULT -62135596800000000;
CREATE INDEX connections_due ON connections (due) WHERE due > -62135596800000000;
-- An org has one service account at a provider.
CREATE UNIQUE INDEX connections_service ON connections (org, provider) WHERE pattern = 'service_account';

-- Who refreshes a connection, and what was about to be spent.
CREATE TABLE refreshes (
    org        TEXT    NOT NULL CHECK (org <> ''),
    connection TEXT    NOT NULL,
    fence      INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    spent      BLOB    NOT NULL,
    spent_at   INTEGER NOT NULL,
    PRIMARY KEY (org, connection)
) STRICT;

-- Changes of status, numbered for each org without gaps.
CREATE TABLE connection_events (
    org        TEXT    NOT NULL CHECK (org <> ''),
    sequence   INTEGER NOT NULL,
    connection TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    before     TEXT    NOT NULL,
    after      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    time       INTEGER NOT NULL,
    PRIMARY KEY (org, sequence)
) STRICT;
CREATE INDEX connection_events_time ON connection_events (time);
CREATE TABLE connection_heads (
    org  TEXT    NOT NULL PRIMARY KEY CHECK (org <> ''),
    head INTEGER NOT NULL
) STRICT;
