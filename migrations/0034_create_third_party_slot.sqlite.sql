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
