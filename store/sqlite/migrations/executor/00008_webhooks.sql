-- +goose Up
-- Where an org wants to be told of its connection events, how far that has come, and who is at it.
CREATE TABLE webhooks (
    org       TEXT    NOT NULL PRIMARY KEY CHECK (org <> ''),
    url       TEXT    NOT NULL,
    version   INTEGER NOT NULL CHECK (version > 0),
    sealed    BLOB    NOT NULL,
    created   INTEGER NOT NULL,
    updated   INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    failures  INTEGER NOT NULL,
    since     INTEGER NOT NULL,
    next      INTEGER NOT NULL,
    failure   TEXT    NOT NULL,
    paused    INTEGER NOT NULL,
    fence     INTEGER NOT NULL,
    until     INTEGER NOT NULL
) STRICT;

-- As of all that is sealed with an org's data key.
-- +goose StatementBegin
CREATE TRIGGER webhooks_insert_sealed BEFORE INSERT ON webhooks
WHEN EXISTS (SELECT 1 FROM dropped_data_keys WHERE org = NEW.org AND prefix = substr(NEW.sealed, 1, 5))
BEGIN SELECT raise(IGNORE); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhooks_update_sealed BEFORE UPDATE OF sealed ON webhooks
WHEN EXISTS (SELECT 1 FROM dropped_data_keys WHERE org = NEW.org AND prefix = substr(NEW.sealed, 1, 5))
BEGIN SELECT raise(IGNORE); END;
-- +goose StatementEnd
