-- Third-party credentials: the secret in use and the one being staged are sealed under the tenant's key before
-- they get here. `due_at` is when the reconciler looks at the row next.
CREATE TABLE third_party (
    tenant      TEXT   NOT NULL,
    third_party BYTEA  NOT NULL,
    name        TEXT   NOT NULL,
    identity    BYTEA  NOT NULL,
    kind        TEXT   NOT NULL,
    fingerprint TEXT   NOT NULL,
    detail      BYTEA  NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    digest      BYTEA  NOT NULL,
    secret      BYTEA  NOT NULL,
    staged      BYTEA,
    PRIMARY KEY (tenant, third_party),
    FOREIGN KEY (tenant, identity) REFERENCES identity (tenant, identity)
);
CREATE UNIQUE INDEX third_party_name ON third_party (tenant, name);
CREATE INDEX third_party_due ON third_party (tenant, due_at);
