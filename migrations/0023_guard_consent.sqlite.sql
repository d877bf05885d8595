-- Rows of these tables are never removed. (Row security exists on the other engine only.)
CREATE TRIGGER public_client_no_delete BEFORE DELETE ON public_client
BEGIN
    SELECT RAISE(ABORT, 'a client is removed by its own column');
END;
CREATE TRIGGER consent_no_delete BEFORE DELETE ON consent
BEGIN
    SELECT RAISE(ABORT, 'a consent ends by a mark on its token');
END;
