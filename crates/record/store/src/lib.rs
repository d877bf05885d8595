//! The only SQL: one Store, two engines; a transaction is state plus audit entry.
