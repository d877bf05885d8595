-- What works once in the whole installation, until it would be refused anyway.
CREATE TABLE used_once (
    tenant  TEXT   NOT NULL,
    kind    TEXT   NOT NULL,
    once    TEXT   NOT NULL,
    asked   TEXT,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, once)
);
CREATE INDEX used_once_ends ON used_once (tenant, ends_at);
ALTER TABLE used_once ENABLE ROW LEVEL SECURITY;
ALTER TABLE used_once FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON used_once FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON used_once FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON used_once FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_removes ON used_once FOR DELETE USING (tenant = current_tenant());
