//! `bailiwick keys`.

use std::path::{Path, PathBuf};

use bailiwick_server::ceremony::{self, Ceremony, Sealed};
use bailiwick_wire::{KeyStatus, RotateKey};
use serde_json::json;

use super::Done;
use crate::args::{Global, Keys};
use crate::client::Client;
use crate::files;
use crate::output::{Failure, Output, exit};

pub(crate) async fn run(command: Keys, global: &Global, output: &Output) -> Done {
    match command {
        Keys::Status => {
            let client = Client::connect(global)?;
            show(&client.get(&client.path("keys")?).await?, output);
        }
        Keys::Rotate { now, reason } => {
            let client = Client::connect(global)?;
            let asked = RotateKey { now, reason };
            show(&client.post(&client.path("keys/rotate")?, &asked).await?, output);
        }
        Keys::Ceremony {
            data,
            unseal_file,
            passphrase_file,
            tenants,
            algorithm,
        } => {
            return held(
                &data,
                unseal_file,
                passphrase_file.as_deref(),
                tenants,
                algorithm,
                output,
            );
        }
    }
    Ok(exit::OK)
}

fn show(status: &KeyStatus, output: &Output) {
    output.result(status, |paper| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let rows = status.items.iter().map(|key| {
            let state = if key.compromised {
                "compromised"
            } else {
                &key.state
            };
            let end = key.published_until.as_ref().or(key.removed_at.as_ref());
            vec![
                key.kid.clone(),
                key.algorithm.clone(),
                key.holder.clone(),
                state.to_owned(),
                key.created_at.clone(),
                or_dash(&key.active_from),
                or_dash(&end.cloned()),
            ]
        });
        paper.table(
            &[
                "key",
                "algorithm",
                "holder",
                "state",
                "made",
                "signs from",
                "published until",
            ],
            rows.collect(),
            "no signing keys yet: wait some seconds",
        );
        let last = status.last_rotation.as_ref();
        paper.pairs(&[
            (
                "last rotation",
                last.map_or_else(
                    || "-".to_owned(),
                    |l| format!("{}, entry {} of the state log", l.at, l.entry),
                ),
            ),
            ("next rotation", or_dash(&status.next_rotation_at)),
            ("possible from", or_dash(&status.rotation_possible_at)),
        ]);
    });
}

fn held(
    data: &Path,
    unseal_file: Option<PathBuf>,
    passphrase_file: Option<&Path>,
    tenants: Vec<String>,
    algorithm: String,
    output: &Output,
) -> Done {
    let sealed = match (unseal_file, passphrase_file) {
        (Some(file), None) => Sealed::File(file),
        (None, Some(file)) => Sealed::Passphrase(files::read(file)?),
        _ => {
            return Err(Failure::usage("nothing is named to seal the root key with").hint(
                "give --unseal-file FILE for a new unseal key, or --passphrase-file FILE with a passphrase",
            ));
        }
    };
    let plan = Ceremony {
        data,
        sealed,
        tenants,
        algorithm,
    };
    let done = ceremony::hold(plan)
        .map_err(|error| Failure::new(exit::ERROR, "keys.ceremony", format!("{error:#}")))?;
    let shown = json!({"root": done.root, "tenants": done.tenants, "steps": done.steps});
    output.result(&shown, |paper| {
        paper.pairs(&[("root", paper.strong(&done.root))]);
        for (tenant, kid) in &done.tenants {
            paper.pairs(&[(tenant.as_str(), kid.clone())]);
        }
        for (number, step) in done.steps.iter().enumerate() {
            paper.line(format!("{}. {step}", number + 1));
        }
    });
    Ok(exit::OK)
}
