-- A tenant's own policies: every version stays, the highest holds.
CREATE TABLE policy (
    tenant     TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    body       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    digest     BYTEA  NOT NULL,
    PRIMARY KEY (tenant, version),
    FOREIGN KEY (tenant) REFERENCES tenant (tenant)
);
