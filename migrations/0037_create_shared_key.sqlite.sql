-- Keys that every node of an installation needs, each sealed under the root key, which is not here. One node makes a
-- key, the others take it; a version that was not seen is refused.
CREATE TABLE shared_key (
    tenant  TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    version BIGINT NOT NULL,
    sealed  BYTEA  NOT NULL,
    PRIMARY KEY (tenant, name)
);
-- (Row security exists on the other engine only.)
CREATE TRIGGER shared_key_no_delete BEFORE DELETE ON shared_key
BEGIN
    SELECT RAISE(ABORT, 'a shared key is emptied, not removed');
END;
