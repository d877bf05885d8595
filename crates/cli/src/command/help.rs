//! The command tree, the codes and the version, for people and for programs.

use bailiwick_base::nearest;
use bailiwick_wire::Page;
use clap::{Command, CommandFactory};
use serde_json::{Value, json};

use super::Done;
use crate::args::Cli;
use crate::output::{Failure, Output, exit};

/// What was built, when the build is told: `BAILIWICK_COMMIT=$(git rev-parse HEAD) cargo build`.
const COMMIT: Option<&str> = option_env!("BAILIWICK_COMMIT");

pub(crate) fn version(output: &Output) -> Done {
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let document = json!({
        "name": "bailiwick", "version": env!("CARGO_PKG_VERSION"), "commit": COMMIT, "profile": profile,
        "target": target,
    });
    output.result(&document, |paper| {
        paper.line(concat!("bailiwick ", env!("CARGO_PKG_VERSION")));
        paper.pairs(&[
            ("commit", COMMIT.unwrap_or("not told at the build").to_owned()),
            ("profile", profile.to_owned()),
            ("target", target.clone()),
        ]);
    });
    Ok(exit::OK)
}

/// The first screen: what it is, and five examples.
pub(crate) fn first_screen(output: &Output) -> Done {
    if output.is_json() {
        return tree(output);
    }
    crate::output::print(&format!(
        "Bailiwick governs machine identities: each has an owner, a purpose and an end; every call is decided\n\
         and recorded before it is forwarded; one command stops an agent in the middle of a call.\n\n{}\n\n\
         All commands: bailiwick help. One command: bailiwick COMMAND --help.",
        crate::args::FIVE
    ));
    Ok(exit::OK)
}

pub(crate) fn completions(shell: clap_complete::Shell, output: &Output) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bailiwick", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let document = json!({"shell": shell.to_string(), "script": script});
    output.result(&document, |paper| paper.line(script.trim_end()));
    Ok(exit::OK)
}

pub(crate) fn tree(output: &Output) -> Done {
    let mut root = Cli::command();
    root.build();
    if !output.is_json() {
        crate::output::print(root.render_help().to_string().trim_end());
        return Ok(exit::OK);
    }
    let document = node(&root);
    output.result(&document, |_| {});
    Ok(exit::OK)
}

/// A word that is no command where it stands: the one that is most like it, and all that are there.
pub(crate) fn unknown(word: &str, words: &[String]) -> Failure {
    let mut root = Cli::command();
    root.build();
    let place = descend(&root, word, words);
    let commands = place.get_subcommands().filter(|c| !c.is_hide_set());
    let names: Vec<&str> = commands.map(Command::get_name).collect();
    // The path of commands, as it is typed.
    let typed = place.get_bin_name().unwrap_or("bailiwick").to_owned();
    let shown = bailiwick_base::limits::shown(word);
    let known = format!("known here: {}", names.join(", "));
    let failure = Failure::usage(format!("`{typed}` has no command `{shown}`"));
    failure.hint(match nearest(word, names.into_iter()) {
        Some(near) => format!("did you mean `{typed} {near}`? {known}"),
        None => known,
    })
}

/// The command under which `word` was looked for: the words before it, without options and their values.
fn descend<'a>(root: &'a Command, word: &str, words: &[String]) -> &'a Command {
    let takes_value = |option: &str| {
        root.get_arguments()
            .filter(|argument| argument.get_action().takes_values())
            .any(|argument| {
                let long = argument.get_long().map(|long| format!("--{long}"));
                let short = argument.get_short().map(|short| format!("-{short}"));
                long.as_deref() == Some(option) || short.as_deref() == Some(option)
            })
    };
    let mut place = root;
    let mut words = words.iter();
    while let Some(next) = words.next() {
        if next == word {
            break;
        }
        if takes_value(next) {
            words.next();
        } else if let Some(deeper) = place.find_subcommand(next) {
            place = deeper;
        }
    }
    place
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
    let page = Page::whole(bailiwick_server::codes());
    output.result(&page, |paper| {
        let rows = page
            .items
            .iter()
            .map(|c| vec![c.code.to_owned(), c.sort.to_owned(), c.meaning.to_owned()]);
        paper.table(&["code", "sort", "meaning"], rows.collect(), "");
    });
    Ok(exit::OK)
}
