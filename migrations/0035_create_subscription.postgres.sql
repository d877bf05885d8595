-- Who is told what happens, how far each one is, and who tells us. How far somebody is was not decided by anybody: it
-- is no state of the log, and losing it means that something is told twice.
CREATE TABLE subscription (
    tenant       TEXT   NOT NULL,
    subscription BYTEA  NOT NULL,
    body         BYTEA  NOT NULL,
    secret       BYTEA,
    status       TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    changed_at   BIGINT NOT NULL,
    removed_at   BIGINT,
    digest       BYTEA  NOT NULL,
    PRIMARY KEY (tenant, subscription)
);
CREATE INDEX subscription_living ON subscription (tenant) WHERE removed_at IS NULL;
CREATE TABLE subscription_progress (
    tenant        TEXT   NOT NULL,
    subscription  BYTEA  NOT NULL,
    position      BIGINT NOT NULL,
    taken         TEXT   NOT NULL,
    attempts      BIGINT NOT NULL,
    retry_at      BIGINT NOT NULL,
    failing_since BIGINT,
    verified_at   BIGINT,
    trouble       TEXT,
    PRIMARY KEY (tenant, subscription),
    FOREIGN KEY (tenant, subscription) REFERENCES subscription (tenant, subscription)
);
CREATE TABLE transmitter (
    tenant      TEXT   NOT NULL,
    transmitter BYTEA  NOT NULL,
    issuer      TEXT   NOT NULL,
    body        BYTEA  NOT NULL,
    created_at  BIGINT NOT NULL,
    removed_at  BIGINT,
    digest      BYTEA  NOT NULL,
    PRIMARY KEY (tenant, transmitter)
);
CREATE UNIQUE INDEX transmitter_issuer ON transmitter (tenant, issuer) WHERE removed_at IS NULL;
ALTER TABLE subscription ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscription FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON subscription FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON subscription FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON subscription FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
ALTER TABLE subscription_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscription_progress FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON subscription_progress FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON subscription_progress FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON subscription_progress FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
ALTER TABLE transmitter ENABLE ROW LEVEL SECURITY;
ALTER TABLE transmitter FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON transmitter FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON transmitter FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON transmitter FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
