-- As in 0014; rows of these tables are never removed.
ALTER TABLE public_client ENABLE ROW LEVEL SECURITY;
ALTER TABLE public_client FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON public_client FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON public_client FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON public_client FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

ALTER TABLE consent ENABLE ROW LEVEL SECURITY;
ALTER TABLE consent FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON consent FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON consent FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON consent FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
