//! `bailiwick config`.

use bailiwick_wire::Page;
use serde_json::Value;

use super::Done;
use super::serve::sources;
use crate::args::Config;
use crate::output::{Output, exit};

pub(crate) fn run(command: Config, output: &Output) -> Done {
    match command {
        Config::Check(serve) => {
            let config = bailiwick_server::Config::read(&sources(&serve))?;
            config.require_safe()?;
            config.require_private()?;
            output.result(&serde_json::json!({"valid": true}), |paper| paper.line("valid"));
        }
        Config::Show {
            serve,
            // There is no other configuration to be shown.
            effective: _,
            origin,
        } => {
            let mut rows = bailiwick_server::Config::effective(&sources(&serve))?;
            rows.iter_mut().for_each(|row| cover(&mut row.value));
            let page = Page::whole(rows);
            output.result(&page, |paper| {
                for row in &page.items {
                    let from = if origin {
                        format!("    # {}", row.origin)
                    } else {
                        String::new()
                    };
                    paper.line(format!("{} = {}{from}", row.key, row.value));
                }
            });
        }
    }
    Ok(exit::OK)
}

/// Secrets are named by their files; the user part of an URL is the one place where one could stand.
fn cover(value: &mut Value) {
    if let Value::String(text) = value
        && let Some((scheme, rest)) = text.split_once("://")
        && let Some((_, place)) = rest.rsplit_once('@')
    {
        *text = format!("{scheme}://***@{place}");
    }
}
