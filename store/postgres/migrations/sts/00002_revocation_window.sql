-- +goose Up
-- What narrows an entry, and what it says of its subject besides. The default of since is the zero time: no lower bound. The
-- columns come last, so that the version before, which names none, goes on writing.
ALTER TABLE revocations
    ADD COLUMN scope    text        COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN since    timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00',
    ADD COLUMN departed boolean     NOT NULL DEFAULT false;
