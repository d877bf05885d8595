-- The log only grows. (Row security exists on the other engine only; here every statement names its tenant.)
CREATE TRIGGER log_entry_no_update BEFORE UPDATE ON log_entry
BEGIN
    SELECT RAISE(ABORT, 'the state log only grows');
END;
CREATE TRIGGER log_entry_no_delete BEFORE DELETE ON log_entry
BEGIN
    SELECT RAISE(ABORT, 'the state log only grows');
END;
