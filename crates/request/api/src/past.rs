//! What was recorded is past, whatever the clock of a start says.

use std::time::Duration;

use bailiwick_base::{Clock, EntropyError, Epoch, Ids, Time};
use bailiwick_store::{Actor, Context, Reach, RequestId, Store, StoreError, Tx};

/// How far the clock may be behind the last record at a start. Time goes on from that record then.
const BEHIND_MAX: Duration = Duration::from_secs(600);

/// A start whose clock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// It is far behind the last record: what has expired would live again.
    #[error(
        "the clock says {now}, but the last record is of {past}: set the clock of this machine, or, if it was ahead \
         then, start once with `danger_clock_set_back = true`"
    )]
    Behind {
        /// What the clock says.
        now: Time,
        /// When the last record was made.
        past: Time,
    },
    /// No id could be drawn.
    #[error("randomness failed")]
    Randomness(#[from] EntropyError),
    /// The store did not take the record.
    #[error("a clock that was set back could not be recorded")]
    Store(#[from] StoreError),
}

/// Time goes on from the last record, `past`. Where somebody accepts that the clock is far behind it, every token that
/// was issued before is dead.
///
/// # Errors
/// [`PastError::Behind`] when nobody accepts it.
pub async fn go_on_from(
    past: Time,
    clock: &dyn Clock,
    (store, ids): (&Store, &Ids),
    is_accepted: bool,
) -> Result<(), PastError> {
    let now = clock.now();
    if past.since(now) <= BEHIND_MAX {
        clock.go_on_from(past);
        return Ok(());
    }
    if !is_accepted {
        return Err(PastError::Behind { now, past });
    }
    let context = Context::new(
        Reach::Installation,
        Actor::System("clock"),
        RequestId(ids.uuid()?),
    );
    let reason = format!("the clock was set back to {now}; the last record is of {past}");
    let raise = async move |tx: &mut Tx| {
        tx.mark().raise_floor(&reason, Epoch(0)).await?;
        Ok::<_, StoreError>(Vec::new())
    };
    store.transact(context, raise).await?;
    Ok(())
}
