-- One row: the counters of the installation. A writer locks it, so the index of an entry is assigned inside
-- its transaction.
CREATE TABLE epoch (
    id          BIGINT NOT NULL,
    epoch       BIGINT NOT NULL,
    epoch_floor BIGINT NOT NULL,
    log_size    BIGINT NOT NULL,
    log_at      BIGINT NOT NULL,
    PRIMARY KEY (id),
    CHECK (id = 1)
);
INSERT INTO epoch (id, epoch, epoch_floor, log_size, log_at) VALUES (1, 0, 0, 0, 0);
