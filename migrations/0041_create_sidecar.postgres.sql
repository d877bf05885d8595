-- Enforcement points elsewhere: who may be one, for which tenants, with which keys; what each said last, and at which
-- node; how far its own decision log is anchored. What is believed of a row is sealed beside it.
CREATE TABLE sidecar (
    tenant       TEXT   NOT NULL,
    sidecar      TEXT   NOT NULL,
    tenants      TEXT   NOT NULL,
    standing     TEXT   NOT NULL,
    key          BYTEA,
    vkey         TEXT,
    invite       TEXT,
    invite_until BIGINT,
    digest       BYTEA  NOT NULL,
    sealed       BYTEA  NOT NULL,
    epoch        BIGINT NOT NULL DEFAULT 0,
    position     BIGINT NOT NULL DEFAULT 0,
    beat         BIGINT NOT NULL DEFAULT 0,
    node         TEXT,
    heard_at     BIGINT,
    has_left     BIGINT NOT NULL DEFAULT 0,
    vouched      BYTEA,
    log_size     BIGINT,
    log_root     BYTEA,
    anchored     BYTEA,
    PRIMARY KEY (tenant, sidecar)
);
ALTER TABLE sidecar ENABLE ROW LEVEL SECURITY;
ALTER TABLE sidecar FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON sidecar FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON sidecar FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON sidecar FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
