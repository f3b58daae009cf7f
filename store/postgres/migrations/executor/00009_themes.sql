-- +goose Up
-- How an org's pages look.
CREATE TABLE themes (
    org     text        COLLATE "C" NOT NULL PRIMARY KEY CHECK (org <> ''),
    name    text        NOT NULL,
    accent  text        NOT NULL,
    version bigint      NOT NULL CHECK (version > 0),
    updated timestamptz NOT NULL
);

ALTER TABLE themes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON themes USING (org = current_setting('obo.org', true));
