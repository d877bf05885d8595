CREATE TABLE identity (
    tenant        TEXT   NOT NULL,
    identity      BYTEA  NOT NULL,
    kind          TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    platform      TEXT   NOT NULL,
    owner_team    TEXT   NOT NULL,
    owner_contact TEXT   NOT NULL,
    application   TEXT,
    purpose       TEXT   NOT NULL,
    agent         TEXT,
    workflow      TEXT,
    origin        TEXT   NOT NULL,
    state         TEXT   NOT NULL,
    was_active    BIGINT,
    state_reason  TEXT,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    changed_at    BIGINT NOT NULL,
    digest        BYTEA  NOT NULL,
    PRIMARY KEY (tenant, identity),
    FOREIGN KEY (tenant) REFERENCES tenant (tenant)
);
-- A name is unique among the living; a tombstone gives it free.
CREATE UNIQUE INDEX identity_living_name ON identity (tenant, name) WHERE state <> 'retired';
CREATE INDEX identity_agent ON identity (tenant, agent);
CREATE INDEX identity_owner ON identity (tenant, owner_team);
