-- +goose Up
-- When each agent last acted, as far as replicas have told: for people who ask which agents are still of use.
CREATE TABLE activity (
    org   text        COLLATE "C" NOT NULL CHECK (org <> ''),
    agent text        COLLATE "C" NOT NULL,
    last  timestamptz NOT NULL,
    PRIMARY KEY (org, agent)
);
ALTER TABLE activity ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON activity USING (org = current_setting('obo.org', true));
