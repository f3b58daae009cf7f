-- +goose Up
-- A random number for each change: a database restored from a backup gives the same place another one. 0: not known.
ALTER TABLE changes ADD COLUMN mark INTEGER NOT NULL DEFAULT 0;

-- The processes that serve this database, and who follows the feed at each. seen is by the process's own clock.
CREATE TABLE replicas (
    id       TEXT    PRIMARY KEY CHECK (id <> ''),
    since    INTEGER NOT NULL,
    seen     INTEGER NOT NULL,
    document BLOB    NOT NULL
) STRICT;
