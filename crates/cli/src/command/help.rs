//! The command tree, the codes and the version, for people and for programs.

use clap::{Command, CommandFactory};
use serde_json::{Value, json};

use super::Done;
use crate::args::Cli;
use crate::output::{Output, exit};

pub(crate) fn version(output: &Output) -> Done {
    let document = json!({"name": "bailiwick", "version": env!("CARGO_PKG_VERSION")});
    output.result(&document, |paper| {
        paper.line(concat!("bailiwick ", env!("CARGO_PKG_VERSION")))
    });
    Ok(exit::OK)
}

pub(crate) fn tree(output: &Output) -> Done {
    let mut root = Cli::command();
    root.build();
    if !output.is_json() {
        crate::output::print(&root.render_long_help().to_string());
        return Ok(exit::OK);
    }
    let document = node(&root);
    output.result(&document, |_| {});
    Ok(exit::OK)
}

fn node(command: &Command) -> Value {
    let about = command.get_about().map(ToString::to_string);
    let arguments: Vec<Value> = command
        .get_arguments()
        .filter(|a| !a.is_hide_set())
        .map(|a| {
            json!({
                "name": a.get_id().as_str(),
                "long": a.get_long(),
                "short": a.get_short().map(|c| c.to_string()),
                "required": a.is_required_set(),
                "positional": a.is_positional(),
                "help": a.get_help().map(ToString::to_string),
            })
        })
        .collect();
    let commands: Vec<Value> = command
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .map(node)
        .collect();
    json!({"name": command.get_name(), "about": about, "arguments": arguments, "commands": commands})
}

pub(crate) fn codes(output: &Output) -> Done {
    let codes = bailiwick_server::codes();
    output.result(&codes, |paper| {
        let rows = codes
            .iter()
            .map(|c| vec![c.code.to_owned(), c.sort.to_owned(), c.meaning.to_owned()]);
        paper.table(&["code", "sort", "meaning"], rows.collect(), "");
    });
    Ok(exit::OK)
}
