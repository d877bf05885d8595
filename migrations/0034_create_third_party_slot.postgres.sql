-- What of other systems one credential's rotation alone may touch: a login, a user, an app, a key. `slot` is the
-- SHA-256 of its text. A credential that is revoked or removed holds none.
CREATE TABLE third_party_slot (
    tenant      TEXT  NOT NULL,
    slot        BYTEA NOT NULL,
    third_party BYTEA NOT NULL,
    PRIMARY KEY (tenant, slot),
    FOREIGN KEY (tenant, third_party) REFERENCES third_party (tenant, third_party)
);
CREATE INDEX third_party_slot_holder ON third_party_slot (tenant, third_party);

-- As in 0014.
ALTER TABLE third_party_slot ENABLE ROW LEVEL SECURITY;
ALTER TABLE third_party_slot FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON third_party_slot FOR SELECT USING (tenant = current_tenant() OR current_tenant() = '*');
CREATE POLICY tenant_adds ON third_party_slot FOR INSERT WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_changes ON third_party_slot FOR UPDATE USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
CREATE POLICY tenant_removes ON third_party_slot FOR DELETE USING (tenant = current_tenant());
