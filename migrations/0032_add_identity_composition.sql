-- What the identity is declared to be made of, as canonical JSON: present, former, since.
ALTER TABLE identity ADD COLUMN composition BYTEA;
