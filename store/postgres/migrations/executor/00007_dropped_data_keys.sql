-- +goose Up
-- The keys that were dropped from orgs' data keys, by what begins all that each has sealed. A writer that sealed something
-- before its key was dropped, and stores it afterwards, would lose it: it is told that it was too late (no row changes), and
-- seals again. A trigger holds the version before to it too.
CREATE TABLE dropped_data_keys (
    org    text  COLLATE "C" NOT NULL CHECK (org <> ''),
    prefix bytea NOT NULL CHECK (length(prefix) = 5),
    PRIMARY KEY (org, prefix)
);

ALTER TABLE dropped_data_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON dropped_data_keys USING (org = current_setting('obo.org', true));

-- The row of the data key is locked by whoever drops a key and, shared, by whoever stores what it sealed: the second of them sees
-- what the first has done, because each statement sees what was committed before it began.
-- +goose StatementBegin
CREATE FUNCTION sealed_with_a_key_in_use() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF length(NEW.sealed) > 0 THEN
        PERFORM FROM data_keys WHERE org = NEW.org FOR SHARE;
        IF EXISTS (SELECT FROM dropped_data_keys WHERE org = NEW.org AND prefix = substr(NEW.sealed, 1, 5)) THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER sealed BEFORE INSERT OR UPDATE OF sealed ON connections
    FOR EACH ROW EXECUTE FUNCTION sealed_with_a_key_in_use();
CREATE TRIGGER sealed BEFORE INSERT OR UPDATE OF sealed ON clients
    FOR EACH ROW EXECUTE FUNCTION sealed_with_a_key_in_use();
CREATE TRIGGER sealed BEFORE INSERT OR UPDATE OF sealed ON authorizations
    FOR EACH ROW EXECUTE FUNCTION sealed_with_a_key_in_use();
