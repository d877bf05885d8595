-- What works once in the whole installation, until it would be refused anyway.
CREATE TABLE used_once (
    tenant  TEXT   NOT NULL,
    kind    TEXT   NOT NULL,
    once    TEXT   NOT NULL,
    asked   TEXT,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, once)
);
CREATE INDEX used_once_ends ON used_once (tenant, ends_at);
