-- Keys that every node of an installation needs, each sealed under the root key, which is not here. One node makes a
-- key, the others take it; a version that was not seen is refused.
CREATE TABLE shared_key (
    tenant  TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    version BIGINT NOT NULL,
    sealed  BYTEA  NOT NULL,
    PRIMARY KEY (tenant, name)
);
ALTER TABLE shared_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE shared_key FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON shared_key FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON shared_key FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON shared_key FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
