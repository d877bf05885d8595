-- Upstream credentials: the secret is sealed under the tenant's key before it gets here.
CREATE TABLE credential (
    tenant      TEXT   NOT NULL,
    credential  BYTEA  NOT NULL,
    identity    BYTEA  NOT NULL,
    fingerprint TEXT   NOT NULL,
    secret      BYTEA  NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    digest      BYTEA  NOT NULL,
    PRIMARY KEY (tenant, credential),
    FOREIGN KEY (tenant, identity) REFERENCES identity (tenant, identity)
);
CREATE INDEX credential_identity ON credential (tenant, identity);
