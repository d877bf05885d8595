CREATE TABLE client (
    tenant     TEXT   NOT NULL,
    client     BYTEA  NOT NULL,
    identity   BYTEA  NOT NULL,
    algorithm  TEXT   NOT NULL,
    jwk        BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    digest     BYTEA  NOT NULL,
    PRIMARY KEY (tenant, client),
    FOREIGN KEY (tenant, identity) REFERENCES identity (tenant, identity)
);
CREATE INDEX client_identity ON client (tenant, identity);
