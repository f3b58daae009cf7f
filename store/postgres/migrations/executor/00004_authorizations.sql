-- +goose Up
-- The org's registrations at providers, and at issuers where its users sign in.
CREATE TABLE clients (
    org       text        COLLATE "C" NOT NULL CHECK (org <> ''),
    name      text        COLLATE "C" NOT NULL,
    client_id text        NOT NULL,
    settings  text        NOT NULL, -- JSON
    version   bigint      NOT NULL CHECK (version > 0),
    sealed    bytea       NOT NULL,
    updated   timestamptz NOT NULL,
    PRIMARY KEY (org, name)
);

-- Attempts to connect an account.
CREATE TABLE authorizations (
    org        text        COLLATE "C" NOT NULL CHECK (org <> ''),
    id         text        COLLATE "C" NOT NULL,
    connection text        COLLATE "C" NOT NULL,
    provider   text        NOT NULL,
    subject    text        COLLATE "C" NOT NULL,
    status     text        NOT NULL,
    reason     text        NOT NULL,
    version    bigint      NOT NULL CHECK (version > 0),
    scopes     text        NOT NULL, -- JSON
    agent      text        NOT NULL,
    browser    bytea       NOT NULL,
    sealed     bytea       NOT NULL,
    created    timestamptz NOT NULL,
    expires    timestamptz NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE INDEX authorizations_expires ON authorizations (expires);

ALTER TABLE clients        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE authorizations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON clients        USING (org = current_setting('obo.org', true));
CREATE POLICY own ON authorizations USING (org = current_setting('obo.org', true));

-- The wide setting lists orgs, and forgets what is old.
CREATE POLICY wide_read  ON clients        FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_read  ON authorizations FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_purge ON authorizations FOR DELETE USING (current_setting('obo.wide', true) = 'on');
