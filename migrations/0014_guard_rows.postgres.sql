-- The log only grows.
CREATE FUNCTION refuse_log_change() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    RAISE EXCEPTION 'the state log only grows';
END
$body$;
CREATE TRIGGER log_entry_no_change BEFORE UPDATE OR DELETE ON log_entry
    FOR EACH ROW EXECUTE FUNCTION refuse_log_change();
CREATE TRIGGER log_entry_no_truncate BEFORE TRUNCATE ON log_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_log_change();

-- Row security, also for the owner of the tables: a statement sees the rows of the tenant that its
-- transaction named; '*' reads all and writes nothing.
CREATE FUNCTION current_tenant() RETURNS TEXT LANGUAGE sql STABLE AS $body$
    SELECT current_setting('bailiwick.tenant', true)
$body$;
DO $body$
DECLARE
    guarded TEXT;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['tenant', 'identity', 'client', 'task', 'task_grant', 'server', 'tool_pin',
                                   'credential', 'policy', 'mark', 'operator', 'idempotency']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        EXECUTE format('CREATE POLICY tenant_reads ON %I FOR SELECT USING (tenant = current_tenant() OR current_tenant() = ''*'')', guarded);
        EXECUTE format('CREATE POLICY tenant_adds ON %I FOR INSERT WITH CHECK (tenant = current_tenant())', guarded);
        EXECUTE format('CREATE POLICY tenant_changes ON %I FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant())', guarded);
        EXECUTE format('CREATE POLICY tenant_removes ON %I FOR DELETE USING (tenant = current_tenant())', guarded);
    END LOOP;
END
$body$;
