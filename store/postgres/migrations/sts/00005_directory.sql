-- +goose Up
-- The users and groups that an org's identity provider has provisioned (SCIM 2.0).
CREATE TABLE directory_users (
    org         text        COLLATE "C" NOT NULL CHECK (org <> ''),
    id          text        COLLATE "C" NOT NULL,
    name_key    text        COLLATE "C" NOT NULL, -- user_name, folded: names that differ in case alone are one name
    user_name   text        COLLATE "C" NOT NULL,
    external_id text        COLLATE "C" NOT NULL,
    email_key   text        COLLATE "C" NOT NULL,
    active      boolean     NOT NULL,
    document    bytea       NOT NULL,
    version     bigint      NOT NULL CHECK (version > 0),
    created     timestamptz NOT NULL,
    updated     timestamptz NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, name_key)
);
CREATE UNIQUE INDEX directory_users_external ON directory_users (org, external_id) WHERE external_id <> '';
CREATE INDEX directory_users_email ON directory_users (org, email_key) WHERE email_key <> '';

CREATE TABLE directory_groups (
    org          text        COLLATE "C" NOT NULL CHECK (org <> ''),
    id           text        COLLATE "C" NOT NULL,
    name_key     text        COLLATE "C" NOT NULL,
    display_name text        COLLATE "C" NOT NULL,
    external_id  text        COLLATE "C" NOT NULL,
    version      bigint      NOT NULL CHECK (version > 0),
    created      timestamptz NOT NULL,
    updated      timestamptz NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, name_key)
);
CREATE INDEX directory_groups_external ON directory_groups (org, external_id) WHERE external_id <> '';

CREATE TABLE directory_members (
    org      text COLLATE "C" NOT NULL CHECK (org <> ''),
    group_id text COLLATE "C" NOT NULL,
    user_id  text COLLATE "C" NOT NULL,
    PRIMARY KEY (org, group_id, user_id),
    FOREIGN KEY (org, group_id) REFERENCES directory_groups (org, id) ON DELETE CASCADE,
    FOREIGN KEY (org, user_id) REFERENCES directory_users (org, id) ON DELETE CASCADE
);
CREATE INDEX directory_members_user ON directory_members (org, user_id);

ALTER TABLE directory_users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON directory_users USING (org = current_setting('obo.org', true));
ALTER TABLE directory_groups ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON directory_groups USING (org = current_setting('obo.org', true));
ALTER TABLE directory_members ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON directory_members USING (org = current_setting('obo.org', true));
