-- What each node says of itself: a beat that rises, the epoch its memory held then, how long it answers on one word,
-- and what it is for the others. An invited node has the digest of its token until it joins.
ALTER TABLE node ADD COLUMN beat BIGINT NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN lease_ms BIGINT NOT NULL DEFAULT 30000;
ALTER TABLE node ADD COLUMN standing TEXT NOT NULL DEFAULT 'live';
ALTER TABLE node ADD COLUMN invite TEXT;
ALTER TABLE node ADD COLUMN invite_until BIGINT;
-- The verifier key of its decision log.
ALTER TABLE node ADD COLUMN vkey TEXT;
-- Rises with each change of who leads.
ALTER TABLE lease ADD COLUMN term BIGINT NOT NULL DEFAULT 0;
