-- +goose Up
-- Text columns that are compared use COLLATE "C": byte for byte, whatever the database's locale.
--
-- Row-level security is the second lock on the tenant (the first is that no query is written without one). Every
-- transaction names its org in obo.org, or says obo.wide = 'on' for what concerns the whole server. FORCE makes the rules
-- hold for the owner of the tables too. A policy with no row in sight is what a forgotten setting gets.

CREATE TABLE configs (
    org      text        COLLATE "C" NOT NULL CHECK (org <> ''),
    version  bigint      NOT NULL CHECK (version > 0),
    document bytea       NOT NULL,
    created  timestamptz NOT NULL,
    PRIMARY KEY (org, version)
);

CREATE TABLE client_secrets (
    sequence bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org      text        COLLATE "C" NOT NULL CHECK (org <> ''),
    agent    text        COLLATE "C" NOT NULL,
    hash     bytea       NOT NULL CHECK (length(hash) = 32),
    created  timestamptz NOT NULL,
    UNIQUE (org, agent, hash)
);

CREATE TABLE consumed (
    org   text        COLLATE "C" NOT NULL CHECK (org <> ''),
    key   bytea       NOT NULL CHECK (length(key) = 32),
    until timestamptz NOT NULL,
    PRIMARY KEY (org, key)
);
CREATE INDEX consumed_until ON consumed (until);

CREATE TABLE changes (
    sequence bigint PRIMARY KEY,
    org      text   COLLATE "C" NOT NULL CHECK (org <> ''),
    kind     text   NOT NULL
);

-- The newest number of a change that was given. A sequence would tell of numbers that are not committed yet.
CREATE TABLE head (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    sequence bigint  NOT NULL
);
INSERT INTO head (sequence) VALUES (0);

CREATE TABLE revocations (
    sequence bigint      PRIMARY KEY,
    org      text        COLLATE "C" NOT NULL CHECK (org <> ''),
    kind     text        NOT NULL,
    id       text        COLLATE "C" NOT NULL,
    before   timestamptz NOT NULL,
    until    timestamptz NOT NULL,
    reason   text        NOT NULL
);
CREATE INDEX revocations_org ON revocations (org);
CREATE INDEX revocations_until ON revocations (until);

CREATE TABLE signing_keys (
    position   int         PRIMARY KEY,
    kid        text        COLLATE "C" NOT NULL UNIQUE,
    algorithm  text        NOT NULL,
    sealed     bytea       NOT NULL,
    public     bytea       NOT NULL,
    published  timestamptz NOT NULL,
    activate   timestamptz NOT NULL,
    deactivate timestamptz NOT NULL,
    remove     timestamptz NOT NULL
);

CREATE TABLE signing_generation (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation bigint  NOT NULL
);
INSERT INTO signing_generation (generation) VALUES (0);

ALTER TABLE configs            ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE client_secrets     ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE consumed           ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE changes            ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE head               ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE revocations        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE signing_keys       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE signing_generation ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON configs        USING (org = current_setting('obo.org', true));
CREATE POLICY own ON client_secrets USING (org = current_setting('obo.org', true));
CREATE POLICY own ON consumed       USING (org = current_setting('obo.org', true));
CREATE POLICY own ON changes        USING (org = current_setting('obo.org', true));
CREATE POLICY own ON revocations    USING (org = current_setting('obo.org', true));

-- The wide setting reads what the feed reads and purges what has expired. It never sees a client secret.
CREATE POLICY wide_read ON configs     FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide ON changes          USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_read ON revocations FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_purge ON revocations FOR DELETE USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_read ON consumed    FOR SELECT USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide_purge ON consumed   FOR DELETE USING (current_setting('obo.wide', true) = 'on');

-- These belong to no org.
CREATE POLICY wide ON signing_keys       USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY wide ON signing_generation USING (current_setting('obo.wide', true) = 'on');
CREATE POLICY everyone ON head           USING (true);

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
