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

-- As in 0014; rows of this table are never removed.
ALTER TABLE credential_lease ENABLE ROW LEVEL SECURITY;
ALTER TABLE credential_lease FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON credential_lease FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON credential_lease FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON credential_lease FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
