-- What a kill or a milder mark did, where it was seen to hold, and what of it is not confirmed. The epoch names it.
-- Rows are never removed.
CREATE TABLE kill_receipt (
    tenant  TEXT   NOT NULL,
    epoch   BIGINT NOT NULL,
    entry   BIGINT NOT NULL,
    scope   TEXT   NOT NULL,
    effect  TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    state   TEXT   NOT NULL,
    body    BYTEA  NOT NULL,
    told    BIGINT NOT NULL,
    digest  BYTEA  NOT NULL,
    PRIMARY KEY (tenant, epoch)
);
CREATE INDEX kill_receipt_open ON kill_receipt (tenant, epoch) WHERE state <> 'closed';
ALTER TABLE kill_receipt ENABLE ROW LEVEL SECURITY;
ALTER TABLE kill_receipt FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON kill_receipt FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON kill_receipt FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON kill_receipt FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
