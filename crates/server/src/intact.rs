//! Whether the parts of a data folder belong to one history: asked before anything is made, opened or answered.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bailiwick_journal::StateTiles;
use bailiwick_keys::ceremony;
use bailiwick_store::{Signed, Store};

use crate::evidence::{LOGS, VKEY_FILE};

/// What a log of an installation that has begun always has.
const LOG_FILES: [&str; 3] = ["checkpoint", "origin", VKEY_FILE];
/// Where the rest is to come from.
const FIX: &str = "put it back from the backup of the whole data folder";

/// What was in the data folder before this start made anything.
pub(crate) struct Parts {
    data: PathBuf,
    root_key: bool,
    tenant_keys: bool,
    kill_journal: bool,
    store: bool,
    /// A key ceremony made the keys, and no start got as far as a store or a log.
    unused: bool,
    /// The state log has a checkpoint over at least one entry.
    signed: bool,
    /// Files of the logs that are missing.
    missing: Vec<PathBuf>,
}

impl Parts {
    pub(crate) fn look(data: &Path) -> Result<Self> {
        let log = data.join("log");
        let files = LOGS.iter().flat_map(|name| {
            let log = &log;
            LOG_FILES.iter().map(move |file| log.join(name).join(file))
        });
        let state = log.join("state");
        // A node that joined knows the origin of the state log before it has one.
        let begun = LOGS.iter().any(|name| log.join(name).join("checkpoint").exists());
        let empty = !begun && !data.join("state.db").exists();
        Ok(Self {
            data: data.to_owned(),
            root_key: data.join("keys/root.key").exists(),
            tenant_keys: std::fs::read_dir(data.join("keys/tenants"))
                .is_ok_and(|mut entries| entries.next().is_some()),
            kill_journal: data.join("kill.journal").exists(),
            store: std::fs::metadata(data.join("state.db")).is_ok_and(|meta| meta.len() > 0),
            unused: empty && ceremony::is_unused(data).context("keys of the ceremony")?,
            signed: state.join("tile").exists(),
            missing: files
                .filter(|file| !file.is_file() && !is_put_aside(file))
                .collect(),
        })
    }

    /// The first start makes the kill journal before anything else: where there are keys, there was one, unless they
    /// are those of a ceremony.
    pub(crate) fn require_kill_journal(&self) -> Result<()> {
        ensure!(
            self.kill_journal || self.unused || !(self.root_key || self.store || self.signed),
            "`{}` is missing, and kills that the state log does not have yet stand only there: {FIX}",
            self.data.join("kill.journal").display()
        );
        Ok(())
    }

    /// An empty store beside logs or keys would be an installation that anybody at the claim socket could take.
    pub(crate) fn require_store(&self) -> Result<()> {
        let there = match (self.signed, self.tenant_keys) {
            _ if self.unused => return Ok(()),
            (true, _) => "a state log that was signed",
            (false, true) => "keys of tenants",
            (false, false) => return Ok(()),
        };
        ensure!(
            self.store,
            "`{}` is missing or empty beside {there}: {FIX}",
            self.data.join("state.db").display()
        );
        Ok(())
    }

    /// Both logs are made before the first entry is committed: a store with entries has had both.
    pub(crate) fn require_logs(&self, stored: u64) -> Result<()> {
        let Some(first) = self.missing.first().filter(|_| stored > 0 && !self.unused) else {
            return Ok(());
        };
        anyhow::bail!(
            "`{}` is missing, but the store has {stored} entries: {FIX}",
            first.display()
        )
    }
}

/// A start that went on from an older store ended before it had made this one anew.
fn is_put_aside(file: &Path) -> bool {
    let aside = file
        .file_name()
        .map(|name| format!("{}.{}", name.display(), bailiwick_witness::ASIDE));
    let names = file.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    names.into_iter().flatten().filter_map(Result::ok).any(|entry| {
        let name = entry.file_name();
        aside
            .as_ref()
            .is_some_and(|aside| name.to_string_lossy().starts_with(aside.as_str()))
    })
}

/// The origin in `file`, unless the log's own key beside it says that it was another.
pub(crate) fn origin_of(file: &Path, kept: &str) -> Result<String> {
    let key = file.with_file_name(VKEY_FILE);
    let own = match std::fs::read_to_string(&key) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("`{}` cannot be read", key.display()))?,
    };
    ensure!(
        own.is_empty() || own.strip_prefix(kept).is_some_and(|rest| rest.starts_with('+')),
        "`{}` and `{}` name different logs: {FIX}",
        file.display(),
        key.display()
    );
    Ok(kept.to_owned())
}

/// Refuses a store that is older than its signed log, tells another history, or lacks rows that entries tell of.
pub(crate) async fn compare(tiles: &Arc<StateTiles>, store: &Store) -> Result<()> {
    let shown = tiles.checkpoint();
    let signed = Signed {
        size: shown.checkpoint().size,
        root: shown.checkpoint().root,
    };
    let compared = store
        .compare(signed)
        .await
        .context("the store is not what its state log tells")?;
    tracing::debug!(
        entries = compared.entries,
        "the store is what its state log tells"
    );
    Ok(())
}
