CREATE TABLE operator (
    tenant     TEXT   NOT NULL,
    operator   BYTEA  NOT NULL,
    name       TEXT   NOT NULL,
    public_key BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    digest     BYTEA  NOT NULL,
    PRIMARY KEY (tenant, operator),
    UNIQUE (tenant, name),
    UNIQUE (tenant, public_key)
);
