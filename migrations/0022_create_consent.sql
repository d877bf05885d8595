-- `refresh` is a keyed digest, empty before the code was redeemed; neither a code nor a refresh token is kept.
CREATE TABLE consent (
    tenant      TEXT   NOT NULL,
    consent     BYTEA  NOT NULL,
    token       BYTEA  NOT NULL,
    task        BYTEA  NOT NULL,
    identity    BYTEA  NOT NULL,
    body        BYTEA  NOT NULL,
    epoch       BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    code_until  BIGINT NOT NULL,
    redeemed_at BIGINT,
    generation  BIGINT NOT NULL,
    refresh     BYTEA  NOT NULL,
    digest      BYTEA  NOT NULL,
    PRIMARY KEY (tenant, consent),
    FOREIGN KEY (tenant, task) REFERENCES task (tenant, task),
    FOREIGN KEY (tenant, identity) REFERENCES identity (tenant, identity)
);
CREATE INDEX consent_task ON consent (tenant, task);
CREATE INDEX consent_identity ON consent (tenant, identity);
