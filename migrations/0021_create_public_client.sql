CREATE TABLE public_client (
    tenant     TEXT   NOT NULL,
    client     BYTEA  NOT NULL,
    body       BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    removed_at BIGINT,
    digest     BYTEA  NOT NULL,
    PRIMARY KEY (tenant, client)
);
