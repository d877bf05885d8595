-- Leases of third-party credentials: what a system made for one task. The secret is sealed under the tenant's key
-- before it gets here, and gone once it opens nothing. `due_at` is when the reconciler looks at the row next.
CREATE TABLE credential_lease (
    tenant     TEXT   NOT NULL,
    lease      BYTEA  NOT NULL,
    task       BYTEA  NOT NULL,
    detail     BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    due_at     BIGINT NOT NULL,
    digest     BYTEA  NOT NULL,
    secret     BYTEA,
    PRIMARY KEY (tenant, lease),
    FOREIGN KEY (tenant, task) REFERENCES task (tenant, task)
);
CREATE INDEX credential_lease_task ON credential_lease (tenant, task);
CREATE INDEX credential_lease_due ON credential_lease (tenant, due_at);

-- Rows of this table are never removed. (Row security exists on the other engine only.)
CREATE TRIGGER credential_lease_no_delete BEFORE DELETE ON credential_lease
BEGIN
    SELECT RAISE(ABORT, 'a lease is given back, never removed');
END;
