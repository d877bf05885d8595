//! What makes the word of a node believed: a code over it, made with a key that only the nodes of the installation
//! have. Whoever can write the database and nothing else cannot say that a node acknowledged a stop or left.

use std::time::Duration;

use bailiwick_base::{Epoch, SealError, Sealer};
use bailiwick_node::{Bounds, Standing, Word};

/// The code for a word. Drained and live are an operator's word, which has an entry; that it left is its own.
pub(crate) fn code(sealer: &dyn Sealer, word: &Word) -> Result<String, SealError> {
    let left = word.standing == Standing::Left;
    let (node, lease) = (&word.node, word.lease.as_millis());
    let said = format!(
        "{node}\0{}\0{}\0{}\0{lease}\0{left}",
        word.fence, word.beat, word.epoch.0
    );
    Ok(sealer.vouch("node word", said.as_bytes())?.to_string())
}

/// The word as far as it is vouched for. A node that was fenced or began anew since has said nothing under its present
/// fence: it holds nothing, and answers as long as it said before. Of any other word nothing is believed but the name.
pub(crate) fn believed(sealer: &dyn Sealer, word: Word, vouched: Option<&str>) -> Result<Word, SealError> {
    let never_ran = word.fence == 0 && matches!(word.standing, Standing::Invited | Standing::Left);
    if never_ran {
        return Ok(Word {
            epoch: Epoch(0),
            ..word
        });
    }
    let is_own = word.standing != Standing::Invited;
    if is_own && vouched == Some(code(sealer, &word)?.as_str()) {
        return Ok(word);
    }
    let standing = match word.standing {
        Standing::Invited | Standing::Left => Standing::Live,
        other => other,
    };
    let silent = Word {
        epoch: Epoch(0),
        standing,
        ..word.clone()
    };
    for standing in [Standing::Live, Standing::Left] {
        let fence = word.fence.saturating_sub(1);
        let before = Word {
            fence,
            standing,
            ..word.clone()
        };
        if vouched == Some(code(sealer, &before)?.as_str()) {
            return Ok(silent);
        }
    }
    let lease = Duration::from_secs(Bounds::SECS_MAX);
    Ok(Word { lease, ..silent })
}
