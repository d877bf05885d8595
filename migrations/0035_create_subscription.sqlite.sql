-- Who is told what happens, how far each one is, and who tells us. How far somebody is was not decided by anybody: it
-- is no state of the log, and losing it means that something is told twice.
CREATE TABLE subscription (
    tenant       TEXT   NOT NULL,
    subscription BYTEA  NOT NULL,
    body         BYTEA  NOT NULL,
    secret       BYTEA,
    status       TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    changed_at   BIGINT NOT NULL,
    removed_at   BIGINT,
    digest       BYTEA  NOT NULL,
    PRIMARY KEY (tenant, subscription)
);
CREATE INDEX subscription_living ON subscription (tenant) WHERE removed_at IS NULL;
CREATE TABLE subscription_progress (
    tenant        TEXT   NOT NULL,
    subscription  BYTEA  NOT NULL,
    position      BIGINT NOT NULL,
    taken         TEXT   NOT NULL,
    attempts      BIGINT NOT NULL,
    retry_at      BIGINT NOT NULL,
    failing_since BIGINT,
    verified_at   BIGINT,
    trouble       TEXT,
    PRIMARY KEY (tenant, subscription),
    FOREIGN KEY (tenant, subscription) REFERENCES subscription (tenant, subscription)
);
CREATE TABLE transmitter (
    tenant      TEXT   NOT NULL,
    transmitter BYTEA  NOT NULL,
    issuer      TEXT   NOT NULL,
    body        BYTEA  NOT NULL,
    created_at  BIGINT NOT NULL,
    removed_at  BIGINT,
    digest      BYTEA  NOT NULL,
    PRIMARY KEY (tenant, transmitter)
);
CREATE UNIQUE INDEX transmitter_issuer ON transmitter (tenant, issuer) WHERE removed_at IS NULL;
-- (Row security exists on the other engine only.)
CREATE TRIGGER subscription_no_delete BEFORE DELETE ON subscription
BEGIN
    SELECT RAISE(ABORT, 'a subscription is removed by its own column');
END;
CREATE TRIGGER transmitter_no_delete BEFORE DELETE ON transmitter
BEGIN
    SELECT RAISE(ABORT, 'a transmitter is removed by its own column');
END;
