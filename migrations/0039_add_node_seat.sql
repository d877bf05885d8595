-- Where the process of a node runs, so that a second one under its name is told from the same one started again, and
-- what vouches for its word: made with a key that only the nodes of the installation have.
ALTER TABLE node ADD COLUMN seat TEXT;
ALTER TABLE node ADD COLUMN vouched TEXT;
