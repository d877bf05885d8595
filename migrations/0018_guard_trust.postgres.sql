-- As in 0014; rows of this table are never removed.
ALTER TABLE trust ENABLE ROW LEVEL SECURITY;
ALTER TABLE trust FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON trust FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON trust FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON trust FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
