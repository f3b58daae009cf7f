-- +goose Up
-- The proofs of possession that calls have used, one row for each until it is dead anyway.
CREATE TABLE consumed (
    org   TEXT    NOT NULL CHECK (org <> ''),
    key   BLOB    NOT NULL CHECK (length(key) = 32),
    until INTEGER NOT NULL,
    PRIMARY KEY (org, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX consumed_until ON consumed (until);
