-- +goose Up
-- A random number for each change: a database restored from a backup gives the same place another one. 0: not known.
ALTER TABLE changes ADD COLUMN mark bigint NOT NULL DEFAULT 0;

-- The processes that serve this database, and who follows the feed at each. seen is by the process's own clock.
CREATE TABLE replicas (
    id       text        COLLATE "C" PRIMARY KEY CHECK (id <> ''),
    since    timestamptz NOT NULL,
    seen     timestamptz NOT NULL,
    document bytea       NOT NULL
);
-- It belongs to no org.
ALTER TABLE replicas ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY wide ON replicas USING (current_setting('obo.wide', true) = 'on');
