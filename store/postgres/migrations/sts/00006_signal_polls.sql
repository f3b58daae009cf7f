-- +goose Up
-- With what the server authenticates to the transmitter of a stream that it polls (RFC 8936), sealed by the key-encryption key.
-- It is for one endpoint: whoever changes where a stream is polled must bring a credential for there.
CREATE TABLE signal_credentials (
    org      text        COLLATE "C" NOT NULL CHECK (org <> ''),
    stream   text        COLLATE "C" NOT NULL,
    endpoint text        COLLATE "C" NOT NULL,
    sealed   bytea       NOT NULL,
    created  timestamptz NOT NULL,
    PRIMARY KEY (org, stream)
);
-- Which replica polls a stream, until when unless it says so again, and how that goes.
CREATE TABLE signal_polls (
    org       text        COLLATE "C" NOT NULL CHECK (org <> ''),
    stream    text        COLLATE "C" NOT NULL,
    holder    text        COLLATE "C" NOT NULL,
    until     timestamptz NOT NULL,
    succeeded timestamptz NOT NULL,
    failed    timestamptz NOT NULL,
    failure   text        NOT NULL,
    PRIMARY KEY (org, stream)
);
ALTER TABLE signal_credentials ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE signal_polls       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON signal_credentials USING (org = current_setting('obo.org', true));
CREATE POLICY own ON signal_polls       USING (org = current_setting('obo.org', true));
