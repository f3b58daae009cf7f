-- +goose Up
-- With what the server authenticates to the transmitter of a stream that it polls (RFC 8936), sealed by the key-encryption key.
-- It is for one endpoint: whoever changes where a stream is polled must bring a credential for there.
CREATE TABLE signal_credentials (
    org      TEXT    NOT NULL CHECK (org <> ''),
    stream   TEXT    NOT NULL,
    endpoint TEXT    NOT NULL,
    sealed   BLOB    NOT NULL,
    created  INTEGER NOT NULL,
    PRIMARY KEY (org, stream)
) STRICT, WITHOUT ROWID;
-- Which replica polls a stream, until when unless it says so again, and how that goes.
CREATE TABLE signal_polls (
    org       TEXT    NOT NULL CHECK (org <> ''),
    stream    TEXT    NOT NULL,
    holder    TEXT    NOT NULL,
    until     INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    failure   TEXT    NOT NULL,
    PRIMARY KEY (org, stream)
) STRICT, WITHOUT ROWID;
