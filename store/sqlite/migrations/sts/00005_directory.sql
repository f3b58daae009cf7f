-- +goose Up
-- The users and groups that an org's identity provider has provisioned (SCIM 2.0).
CREATE TABLE directory_users (
    org         TEXT    NOT NULL CHECK (org <> ''),
    id          TEXT    NOT NULL,
    name_key    TEXT    NOT NULL, -- user_name, folded: names that differ in case alone are one name
    user_name   TEXT    NOT NULL,
    external_id TEXT    NOT NULL,
    email_key   TEXT    NOT NULL,
    active      INTEGER NOT NULL,
    document    BLOB    NOT NULL,
    version     INTEGER NOT NULL CHECK (version > 0),
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, name_key)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX directory_users_external ON directory_users (org, external_id) WHERE external_id <> '';
CREATE INDEX directory_users_email ON directory_users (org, email_key) WHERE email_key <> '';

CREATE TABLE directory_groups (
    org          TEXT    NOT NULL CHECK (org <> ''),
    id           TEXT    NOT NULL,
    name_key     TEXT    NOT NULL,
    display_name TEXT    NOT NULL,
    external_id  TEXT    NOT NULL,
    version      INTEGER NOT NULL CHECK (version > 0),
    created      INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, name_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX directory_groups_external ON directory_groups (org, external_id) WHERE external_id <> '';

CREATE TABLE directory_members (
    org      TEXT NOT NULL CHECK (org <> ''),
    group_id TEXT NOT NULL,
    user_id  TEXT NOT NULL,
    PRIMARY KEY (org, group_id, user_id),
    FOREIGN KEY (org, group_id) REFERENCES directory_groups (org, id) ON DELETE CASCADE,
    FOREIGN KEY (org, user_id) REFERENCES directory_users (org, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX directory_members_user ON directory_members (org, user_id);
