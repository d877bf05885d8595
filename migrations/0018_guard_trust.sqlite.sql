-- Rows of this table are never removed. (Row security exists on the other engine only.)
CREATE TRIGGER trust_no_delete BEFORE DELETE ON trust
BEGIN
    SELECT RAISE(ABORT, 'a trust rule is removed by its own column');
END;
