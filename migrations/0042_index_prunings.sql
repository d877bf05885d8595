-- Each start asks for the newest pruning that is on record: without this it would read the whole state log.
CREATE INDEX log_entry_pruning ON log_entry (log_index) WHERE kind = 'state.log.prune';
