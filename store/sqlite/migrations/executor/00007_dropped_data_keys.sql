-- +goose Up
-- The keys that were dropped from orgs' data keys, by what begins all that each has sealed. A writer that sealed something
-- before its key was dropped, and stores it afterwards, would lose it: it is told that it was too late (no row changes), and
-- seals again. A trigger holds the version before to it too.
CREATE TABLE dropped_data_keys (
    org    TEXT NOT NULL CHECK (org <> ''),
    prefix BLOB NOT NULL CHECK (length(prefix) = 5),
    PRIMARY KEY (org, prefix)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER connections_insert_sealed BEFORE INSERT ON connections
WHEN EXISTS (SELECT 1 FROM dropped_data_keys WHERE org = NEW.org AND prefix = substr(NEW.sealed, 1, 5))
BEGIN SELECT raise(IGNORE); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER connections_update_sealed BEFORE UPDATE OF sealed ON connections
WHEN EXISTS (SELECT 1 FROM dropped_data_keys WHERE org = NEW.org AND prefix = substr(NEW.sealed, 1, 5))
BEGIN SELECT raise(IGNORE); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER clients_insert_sealed BEFORE INSERT ON clients
WHEN EXISTS (SELECT 1 FROM dropped_data_keys WHERE org = NEW.org AND prefix = substr(NEW.sealed, 1, 5))
BEGIN SELECT raise(IGNORE); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER clients_update_sealed BEFORE UPDATE OF sealed ON clients
WHEN EXISTS (SELECT 1 FROM dropped_data_keys WHERE org = NEW.org AND prefix = substr(NEW.sealed, 1, 5))
BEGIN SELECT raise(IGNORE); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER authorizations_insert_sealed BEFORE INSERT ON authorizations
WHEN EXISTS (SELECT 1 FROM dropped_data_keys WHERE org = NEW.org AND prefix = substr(NEW.sealed, 1, 5))
BEGIN SELECT raise(IGNORE); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER authorizations_update_sealed BEFORE UPDATE OF sealed ON authorizations
WHEN EXISTS (SELECT 1 FROM dropped_data_keys WHERE org = NEW.org AND prefix = substr(NEW.sealed, 1, 5))
BEGIN SELECT raise(IGNORE); END;
-- +goose StatementEnd
