-- +goose Up
-- When each agent last acted, as far as the server has told: for people who ask which agents are still of use.
CREATE TABLE activity (
    org   TEXT    NOT NULL CHECK (org <> ''),
    agent TEXT    NOT NULL,
    last  INTEGER NOT NULL,
    PRIMARY KEY (org, agent)
) STRICT, WITHOUT ROWID;
