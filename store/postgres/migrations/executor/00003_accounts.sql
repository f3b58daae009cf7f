-- +goose Up
-- Connected accounts: what is known of a connection besides its credential.
ALTER TABLE connections
    ADD COLUMN account  text        NOT NULL DEFAULT '',
    ADD COLUMN hint     text        NOT NULL DEFAULT '',
    ADD COLUMN scopes   text        NOT NULL DEFAULT 'null', -- JSON
    ADD COLUMN settings text        NOT NULL DEFAULT 'null', -- JSON
    ADD COLUMN expires  timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00',
    ADD COLUMN renew    timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00',
    ADD COLUMN due      timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00';
CREATE INDEX connections_due ON connections (due) WHERE due > '0001-01-01 00:00:00+00';
-- An org has one service account at a provider.
CREATE UNIQUE INDEX connections_service ON connections (org, provider) WHERE pattern = 'service_account';

-- Who refreshes a connection, and what was about to be spent.
CREATE TABLE refreshes (
    org        text        COLLATE "C" NOT NULL CHECK (org <> ''),
    connection text        COLLATE "C" NOT NULL,
    fence      bigint      NOT NULL,
    until      timestamptz NOT NULL,
    spent      bytea       NOT NULL,
    spent_at   timestamptz NOT NULL,
    PRIMARY KEY (org, connection)
);

-- Changes of status, numbered for each org without gaps: the row of the head is locked until the commit.
CREATE TABLE connection_events (
    org        text        COLLATE "C" NOT NULL CHECK (org <> ''),
    sequence   bigint      NOT NULL,
    connection text        COLLATE "C" NOT NULL,
    provider   text        NOT NULL,
    subject    text        COLLATE "C" NOT NULL,
    before     text        NOT NULL,
    after      text        NOT NULL,
    reason     text        NOT NULL,
    time       timestamptz NOT NULL,
    PRIMARY KEY (org, sequence)
);
CREATE INDEX connection_events_time ON connection_events (time);
CREATE TABLE connection_heads (
    org  text   COLLATE "C" NOT NULL PRIMARY KEY CHECK (org <> ''),
    head bigint NOT NULL
);

ALTER TABLE refreshes         ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE connection_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE connection_heads  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON refreshes         USING (org = current_setting('obo.org', true));
CREATE POLICY own ON connection_events USING (org = current_setting('obo.org', true));
CREATE POLICY own ON connection_heads  USING (org = current_setting('obo.org', true));

-- The wide setting forgets what is old.
CREATE POLICY wide_read  ON refreshes         FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_purge ON refreshes         FOR DELETE USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_read  ON connection_events FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_purge ON connection_events FOR DELETE USING (current_setting('obo.wide', true) = 'on');
