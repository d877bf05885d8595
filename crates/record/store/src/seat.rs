//! One process serves under a node's name. A second one is told from the same one that starts again: it runs elsewhere,
//! or the row of the first still moves. So nobody acknowledges in the name of a process that still answers.

use std::time::Duration;

use bailiwick_node::{Standing, Word};

use crate::engine::{Conn, Failure};
use crate::error::StoreError;
use crate::node;
use crate::row::{Fields, args, signed};
use crate::tx::Ground;

const LOOK: &str = "SELECT node, fence, beat, epoch, lease_ms, standing, started_at, vkey, vouched, seat FROM node WHERE node = $1";
/// Taken only as it was seen: of two that start at once one begins.
const BEGIN: &str = "INSERT INTO node (node, fence, started_at, seat) VALUES ($1, 1, $2, $3) \
                     ON CONFLICT (node) DO UPDATE SET fence = node.fence + 1, started_at = excluded.started_at, \
                     standing = 'live', seat = excluded.seat WHERE node.standing NOT IN ('fenced', 'invited') \
                     AND node.fence = $4 AND node.beat = $5 RETURNING fence, beat";

/// How often the row of a node is looked at that may still run.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the row said when this process might begin.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before {
    fence: u64,
    beat: u64,
}

struct Found {
    word: Word,
    seat: Option<String>,
}

async fn look(conn: &mut Conn, ground: &Ground) -> Result<Option<Found>, StoreError> {
    let rows = conn.fetch(LOOK, args![ground.node.as_str()]).await;
    let rows = rows.map_err(Failure::into_error)?;
    let Some(mut cells) = rows.into_iter().next() else {
        return Ok(None);
    };
    let seat = cells.split_off(cells.len().saturating_sub(1));
    let row = node::from_row(&*ground.sealer, cells)?;
    let seat = Fields::of("node", seat).text_or_null("seat")?;
    Ok(Some(Found { word: row.word, seat }))
}

/// Waits until whoever served under this name last cannot answer any more; refuses when somebody still does.
///
/// # Errors
/// [`StoreError::NodeRuns`], [`StoreError::NotAdmitted`].
pub(crate) async fn require_free(
    conn: &mut Conn,
    ground: &Ground,
    is_shared: bool,
) -> Result<Before, StoreError> {
    let Some(first) = look(conn, ground).await? else {
        return Ok(Before::default());
    };
    let before = Before {
        fence: first.word.fence,
        beat: first.word.beat,
    };
    match first.word.standing {
        Standing::Fenced | Standing::Invited => return Err(not_admitted(ground)),
        // It said so itself, or never ran.
        Standing::Left => return Ok(before),
        Standing::Draining | Standing::Live => {}
    }
    // Where it ran only one of its name can run, and that is this one by now.
    let same_seat = first.seat.is_some() && first.seat == ground.seat;
    if !is_shared || same_seat {
        return Ok(before);
    }
    let longest = first.word.lease + first.word.lease / 50;
    tracing::warn!(
        node = %ground.node,
        "this node did not leave the store cleanly, and ran elsewhere: waiting until it cannot answer any more"
    );
    let mut waited = Duration::ZERO;
    while waited < longest {
        // Nothing is expected but the end of the wait.
        drop(tokio::time::timeout(LOOK_EVERY, std::future::pending::<()>()).await);
        waited += LOOK_EVERY;
        match look(conn, ground).await? {
            Some(now) if now.word.fence == before.fence && now.word.beat == before.beat => {}
            _ => return Err(runs(ground)),
        }
    }
    Ok(before)
}

/// Takes the fence of this start; gives it, and the last beat before it.
///
/// # Errors
/// [`StoreError::NodeRuns`] when another process began meanwhile.
pub(crate) async fn begin(
    conn: &mut Conn,
    ground: &Ground,
    before: Before,
) -> Result<(u64, u64), StoreError> {
    let values = args![
        ground.node.as_str(),
        ground.clock.now(),
        ground.seat.clone(),
        signed(before.fence),
        signed(before.beat)
    ];
    let rows = conn.fetch(BEGIN, values).await.map_err(Failure::into_error)?;
    let cells = rows.into_iter().next().ok_or_else(|| runs(ground))?;
    let mut f = Fields::of("node", cells);
    Ok((f.number("fence")?, f.number("beat")?))
}

fn runs(ground: &Ground) -> StoreError {
    StoreError::NodeRuns {
        node: ground.node.to_string(),
    }
}

fn not_admitted(ground: &Ground) -> StoreError {
    StoreError::NotAdmitted {
        node: ground.node.to_string(),
    }
}
