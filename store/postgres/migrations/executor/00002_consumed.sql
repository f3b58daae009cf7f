-- +goose Up
-- The proofs of possession that calls have used, one row for each until it is dead anyway.
CREATE TABLE consumed (
    org   text        COLLATE "C" NOT NULL CHECK (org <> ''),
    key   bytea       NOT NULL CHECK (length(key) = 32),
    until timestamptz NOT NULL,
    PRIMARY KEY (org, key)
);
CREATE INDEX consumed_until ON consumed (until);

ALTER TABLE consumed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON consumed USING (org = current_setting('obo.org', true));

-- The wide setting forgets what has expired.
CREATE POLICY wide_read ON consumed  FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_purge ON consumed FOR DELETE USING (current_setting('obo.wide', true) = 'on');
