-- A task and what it may do: one grant for each task.
CREATE TABLE task (
    tenant       TEXT   NOT NULL,
    task         BYTEA  NOT NULL,
    identity     BYTEA  NOT NULL,
    purpose      TEXT   NOT NULL,
    requested_by TEXT   NOT NULL,
    opens_at     BIGINT NOT NULL,
    closes_at    BIGINT NOT NULL,
    closed_at    BIGINT,
    close_reason TEXT,
    digest       BYTEA  NOT NULL,
    PRIMARY KEY (tenant, task),
    FOREIGN KEY (tenant, identity) REFERENCES identity (tenant, identity)
);
CREATE INDEX task_identity ON task (tenant, identity);
CREATE INDEX task_closes_at ON task (tenant, closes_at);
CREATE TABLE task_grant (
    tenant     TEXT   NOT NULL,
    task       BYTEA  NOT NULL,
    grant_id   BYTEA  NOT NULL,
    identity   BYTEA  NOT NULL,
    scopes     BYTEA  NOT NULL,
    expires_at BIGINT NOT NULL,
    digest     BYTEA  NOT NULL,
    PRIMARY KEY (tenant, task),
    UNIQUE (tenant, grant_id),
    FOREIGN KEY (tenant, task) REFERENCES task (tenant, task)
);
