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
