CREATE TABLE server (
    tenant     TEXT   NOT NULL,
    server     TEXT   NOT NULL,
    identity   BYTEA  NOT NULL,
    connection BYTEA  NOT NULL,
    credential BYTEA,
    created_at BIGINT NOT NULL,
    digest     BYTEA  NOT NULL,
    PRIMARY KEY (tenant, server),
    FOREIGN KEY (tenant, identity) REFERENCES identity (tenant, identity)
);
CREATE TABLE tool_pin (
    tenant     TEXT   NOT NULL,
    server     TEXT   NOT NULL,
    tool       TEXT   NOT NULL,
    tool_digest BYTEA NOT NULL,
    definition BYTEA  NOT NULL,
    state      TEXT   NOT NULL,
    PRIMARY KEY (tenant, server, tool),
    FOREIGN KEY (tenant, server) REFERENCES server (tenant, server)
);
