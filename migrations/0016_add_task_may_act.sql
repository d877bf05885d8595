-- Who may act for the identity of a task (RFC 8693): ids with one space between them.
ALTER TABLE task ADD COLUMN may_act TEXT NOT NULL DEFAULT '';
