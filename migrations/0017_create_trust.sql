CREATE TABLE trust (
    tenant     TEXT   NOT NULL,
    trust      BYTEA  NOT NULL,
    identity   BYTEA  NOT NULL,
    method     TEXT   NOT NULL,
    issuer     TEXT   NOT NULL,
    body       BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    removed_at BIGINT,
    digest     BYTEA  NOT NULL,
    PRIMARY KEY (tenant, trust),
    FOREIGN KEY (tenant, identity) REFERENCES identity (tenant, identity)
);
CREATE INDEX trust_identity ON trust (tenant, identity);
