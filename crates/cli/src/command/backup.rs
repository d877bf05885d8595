//! `bailiwick backup` and `bailiwick restore`.

use bailiwick_server::backup;

use super::Done;
use super::log::data_folder;
use crate::args::{Backup, Global, Restore};
use crate::output::{Failure, Output, exit};

pub(crate) async fn make(command: Backup, global: &Global, output: &Output) -> Done {
    let data = data_folder(command.data, global)?;
    let made = backup::make(&data, &command.out)
        .await
        .map_err(|error| Failure::new(exit::ERROR, "backup.failed", format!("{error:#}")))?;
    output.result(&made, |paper| {
        paper.line(format!(
            "{}: {} files, {} state entries, {} decision entries",
            made.folder.display(),
            made.parts,
            made.state_entries,
            made.decision_entries
        ));
        paper.line("keep the unseal key and the witness elsewhere: they are not in it");
    });
    Ok(exit::OK)
}

pub(crate) fn restore(command: &Restore, output: &Output) -> Done {
    let restored = backup::put_back(&command.from, &command.data)
        .map_err(|error| Failure::new(exit::ERROR, "backup.not-restored", format!("{error:#}")))?;
    output.result(&restored, |paper| {
        paper.line(format!(
            "{}: {} files, {} state entries, {} decision entries",
            restored.folder.display(),
            restored.parts,
            restored.state_entries,
            restored.decision_entries
        ));
        paper.line(format!(
            "next: put the unseal key where the configuration says, then bailiwick witness accept --data {} --reason \
             TEXT --yes, with the same --config and --witness as `serve`",
            restored.folder.display()
        ));
    });
    Ok(exit::OK)
}
