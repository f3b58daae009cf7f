-- +goose Up
-- Where an org wants to be told of its connection events, how far that has come, and who is at it.
CREATE TABLE webhooks (
    org       text        COLLATE "C" NOT NULL PRIMARY KEY CHECK (org <> ''),
    url       text        NOT NULL,
    version   bigint      NOT NULL CHECK (version > 0),
    sealed    bytea       NOT NULL,
    created   timestamptz NOT NULL,
    updated   timestamptz NOT NULL,
    delivered bigint      NOT NULL,
    failures  bigint      NOT NULL,
    since     timestamptz NOT NULL,
    next      timestamptz NOT NULL,
    failure   text        NOT NULL,
    paused    boolean     NOT NULL,
    fence     bigint      NOT NULL,
    until     timestamptz NOT NULL
);
ALTER TABLE webhooks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON webhooks USING (org = current_setting('obo.org', true));

-- The wide setting finds the orgs that have something to be told.
CREATE POLICY wide_read ON webhooks         FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_read ON connection_heads FOR SELECT USING (current_setting('obo.wide', true) = 'on');

-- As of all that is sealed with an org's data key.
CREATE TRIGGER sealed BEFORE INSERT OR UPDATE OF sealed ON webhooks
    FOR EACH ROW EXECUTE FUNCTION sealed_with_a_key_in_use();
