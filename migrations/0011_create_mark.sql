-- Stops by scope, with the epoch at which they were set. A suspension is deleted when it is lifted, a kill never.
CREATE TABLE mark (
    tenant TEXT   NOT NULL,
    scope  TEXT   NOT NULL,
    effect TEXT   NOT NULL,
    epoch  BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    digest BYTEA  NOT NULL,
    PRIMARY KEY (tenant, scope, effect)
);
