-- +goose Up
-- Text columns that are compared use COLLATE "C": byte for byte, whatever the database's locale.
--
-- Row-level security is the second lock on the tenant (the first is that no query is written without one). Every
-- transaction names its org in obo.org, or says obo.wide = 'on' for what concerns the whole server. FORCE makes the rules
-- hold for the owner of the tables too. A policy with no row in sight is what a forgotten setting gets.

CREATE TABLE data_keys (
    org     text   COLLATE "C" NOT NULL PRIMARY KEY CHECK (org <> ''),
    sealed  bytea  NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE connections (
    org           text        COLLATE "C" NOT NULL CHECK (org <> ''),
    id            text        COLLATE "C" NOT NULL,
    provider      text        COLLATE "C" NOT NULL,
    pattern       text        NOT NULL,
    subject       text        COLLATE "C" NOT NULL,
    status        text        NOT NULL,
    status_reason text        NOT NULL,
    version       bigint      NOT NULL CHECK (version > 0),
    sealed        bytea       NOT NULL,
    created       timestamptz NOT NULL,
    updated       timestamptz NOT NULL,
    PRIMARY KEY (org, id)
);
-- What a call may spend: a user's own and the org's, however many users there are.
CREATE INDEX connections_subject ON connections (org, provider, subject, id);

CREATE TABLE providers (
    org  text  COLLATE "C" NOT NULL CHECK (org <> ''),
    name text  COLLATE "C" NOT NULL,
    text bytea NOT NULL,
    PRIMARY KEY (org, name)
);

ALTER TABLE data_keys   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE connections ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE providers   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON data_keys   USING (org = current_setting('obo.org', true));
CREATE POLICY own ON connections USING (org = current_setting('obo.org', true));
CREATE POLICY own ON providers   USING (org = current_setting('obo.org', true));

-- For the list of orgs.
CREATE POLICY wide_read ON data_keys   FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_read ON connections FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_read ON providers   FOR SELECT USING (current_setting('obo.wide', true) = 'on');

CREATE TABLE audit (
    sequence       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org            text        COLLATE "C" NOT NULL CHECK (org <> ''),
    action_id      text        COLLATE "C" NOT NULL,
    transaction_id text        COLLATE "C" NOT NULL,
    time           timestamptz NOT NULL,
    body           bytea       NOT NULL
);
CREATE INDEX audit_org ON audit (org, sequence);
CREATE INDEX audit_transaction ON audit (org, transaction_id);
-- Only the action ids that do not begin with their transaction: the others are found by it.
CREATE INDEX audit_action ON audit (org, action_id) WHERE NOT starts_with(action_id, transaction_id || '.');

-- One group of records holds several orgs, so the wide setting appends; it cannot read.
ALTER TABLE audit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_read ON audit FOR SELECT USING (org = current_setting('obo.org', true));
CREATE POLICY wide_append ON audit FOR INSERT WITH CHECK (current_setting('obo.wide', true) = 'on');

-- +goose StatementBegin
CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
