-- +goose Up
-- What narrows an entry, and what it says of its subject besides. The default of since is the zero time: no lower bound.
ALTER TABLE revocations ADD COLUMN scope    TEXT    NOT NULL DEFAULT '';
ALTER TABLE revocations ADD COLUMN since    INTEGER NOT NULL DEFAULT -62135596800000000;
ALTER TABLE revocations ADD COLUMN departed INTEGER NOT NULL DEFAULT 0;
