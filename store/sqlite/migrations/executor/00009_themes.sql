-- +goose Up
-- How an org's pages look.
CREATE TABLE themes (
    org     TEXT    NOT NULL PRIMARY KEY CHECK (org <> ''),
    name    TEXT    NOT NULL,
    accent  TEXT    NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    updated INTEGER NOT NULL
) STRICT;
