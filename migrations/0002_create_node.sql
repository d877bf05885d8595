-- Nodes and their fence: every start takes a higher one, and a writer with an older one is refused.
CREATE TABLE node (
    node       TEXT   NOT NULL,
    fence      BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    PRIMARY KEY (node)
);
CREATE TABLE lease (
    name       TEXT   NOT NULL,
    node       TEXT   NOT NULL,
    fence      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);
