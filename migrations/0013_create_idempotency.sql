-- The first answer to a command, sealed, so that a repetition gets the same one.
CREATE TABLE idempotency (
    tenant   TEXT   NOT NULL,
    key_hash BYTEA  NOT NULL,
    request  BYTEA  NOT NULL,
    answer   BYTEA  NOT NULL,
    log_pos  BIGINT NOT NULL,
    epoch    BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (tenant, key_hash)
);
CREATE INDEX idempotency_at ON idempotency (tenant, at);
