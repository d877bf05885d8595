//! `bailiwick doctor`: what is not as it should be, each with the command that mends it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was looked at and found.
    pub what: String,
    /// The command that mends it; none when there is nothing to mend.
    pub mend: Option<String>,
}

fn fine(what: String) -> Finding {
    Finding { what, mend: None }
}

fn mend(what: String, mend: String) -> Finding {
    Finding {
        what,
        mend: Some(mend),
    }
}

/// Looks at the data folder of an installation.
#[must_use]
pub fn examine(data: Option<&Path>) -> Vec<Finding> {
    let Some(data) = data else {
        return vec![mend(
            "no data folder is known".to_owned(),
            "bailiwick doctor --data DIR, or bailiwick claim --data DIR --name NAME".to_owned(),
        )];
    };
    let mut findings = vec![folder(data)];
    findings.push(private_file(&data.join("unseal.key"), "unseal key"));
    findings.push(logs(data));
    findings
}

fn folder(data: &Path) -> Finding {
    let shown = data.display();
    match std::fs::metadata(data) {
        Err(error) => mend(
            format!("data folder `{shown}`: {error}"),
            format!("bailiwick serve --data {shown}"),
        ),
        Ok(meta) if !meta.is_dir() => mend(
            format!("data folder `{shown}` is no folder"),
            "bailiwick doctor --data DIR, with the folder the service was started with".to_owned(),
        ),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => mend(
            format!("data folder `{shown}` is open to others"),
            format!("chmod 700 {shown}"),
        ),
        Ok(_) => fine(format!("data folder `{shown}` is private")),
    }
}

fn private_file(file: &Path, title: &str) -> Finding {
    let shown = file.display();
    match std::fs::metadata(file) {
        Err(_) => fine(format!("{title} is not kept in the data folder")),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => mend(
            format!("{title} `{shown}` may be read by others"),
            format!("chmod 600 {shown}"),
        ),
        Ok(_) => fine(format!("{title} is private")),
    }
}

fn logs(data: &Path) -> Finding {
    match crate::evidence::verify_folder(data, None) {
        Err(error) => mend(
            format!("logs: {error:#}"),
            format!("bailiwick log verify --data {}", data.display()),
        ),
        Ok(reports) => {
            let faults: usize = reports.iter().map(|r| r.findings.len()).sum();
            let entries: u64 = reports.iter().map(|r| r.size).sum();
            if faults > 0 {
                mend(
                    format!("logs: {faults} faults"),
                    format!("bailiwick log verify --data {}", data.display()),
                )
            } else {
                fine(format!("logs verify, {entries} entries"))
            }
        }
    }
}
