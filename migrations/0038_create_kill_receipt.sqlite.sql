-- What a kill or a milder mark did, where it was seen to hold, and what of it is not confirmed. The epoch names it.
-- Rows are never removed. (Row security exists on the other engine only.)
CREATE TABLE kill_receipt (
    tenant  TEXT   NOT NULL,
    epoch   BIGINT NOT NULL,
    entry   BIGINT NOT NULL,
    scope   TEXT   NOT NULL,
    effect  TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    state   TEXT   NOT NULL,
    body    BYTEA  NOT NULL,
    told    BIGINT NOT NULL,
    digest  BYTEA  NOT NULL,
    PRIMARY KEY (tenant, epoch)
);
CREATE INDEX kill_receipt_open ON kill_receipt (tenant, epoch) WHERE state <> 'closed';
CREATE TRIGGER kill_receipt_no_delete BEFORE DELETE ON kill_receipt
BEGIN
    SELECT RAISE(ABORT, 'a receipt stays');
END;
