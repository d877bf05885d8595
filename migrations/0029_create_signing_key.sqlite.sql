-- Which signing key of a tenant is next, signs, is published for what it signed, or is gone. The keys themselves
-- are not here. Rows are never removed: they are the record of what signed when.
CREATE TABLE signing_key (
    tenant      TEXT   NOT NULL,
    kid         TEXT   NOT NULL,
    algorithm   TEXT   NOT NULL,
    holder      TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    active_from BIGINT,
    entry       BIGINT,
    retired_at  BIGINT,
    removed_at  BIGINT,
    floor       BIGINT,
    digest      BYTEA  NOT NULL,
    PRIMARY KEY (tenant, kid)
);
CREATE UNIQUE INDEX signing_key_active ON signing_key (tenant)
    WHERE active_from IS NOT NULL AND retired_at IS NULL AND removed_at IS NULL;
CREATE UNIQUE INDEX signing_key_next ON signing_key (tenant) WHERE active_from IS NULL AND removed_at IS NULL;
-- (Row security exists on the other engine only.)
CREATE TRIGGER signing_key_no_delete BEFORE DELETE ON signing_key
BEGIN
    SELECT RAISE(ABORT, 'a signing key is removed by its own column');
END;
