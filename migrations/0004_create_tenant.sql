CREATE TABLE tenant (
    tenant     TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    employees  BIGINT NOT NULL,
    reference  TEXT   NOT NULL,
    algorithm  TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    digest     BYTEA  NOT NULL,
    PRIMARY KEY (tenant)
);
