-- The state log: leaf and sealed payload side by side. log_index runs through the installation, tenant_seq
-- through the tenant, both without gaps.
CREATE TABLE log_entry (
    log_index  BIGINT NOT NULL,
    tenant     TEXT   NOT NULL,
    tenant_seq BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    leaf       BYTEA  NOT NULL,
    payload    BYTEA  NOT NULL,
    PRIMARY KEY (log_index)
);
CREATE UNIQUE INDEX log_entry_tenant_seq ON log_entry (tenant, tenant_seq);
CREATE INDEX log_entry_at ON log_entry (at);
