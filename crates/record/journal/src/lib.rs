//! Decision-log segments, group commit, kill journal, tile and checkpoint publishing.
