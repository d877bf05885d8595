//! `bailiwick config`.

use bailiwick_wire::Page;

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
        Config::Show { serve, origin } => {
            let rows = bailiwick_server::Config::effective(&sources(&serve))?;
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
