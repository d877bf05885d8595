//! `cargo xtask demo`: build the binary, fetch the official filesystem MCP server where Node is
//! here, and run `bailiwick demo` in this terminal.
//!
//! The installed packages are handed over as `--node-modules FOLDER`. Without Node the flag is left
//! out and the demo uses the MCP server inside the binary.
//! Further arguments go to `bailiwick demo` as they are.
use std::process::Command;

use crate::fail::Outcome;
use crate::generate;
use crate::process;
use crate::repo::Repo;
use crate::test::setup;

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    println!("building bailiwick (the first time takes some minutes) …");
    let program = generate::built_binary(repo)?;
    println!("looking for Node and the official filesystem MCP server …");
    let mut demo = Command::new(program);
    demo.current_dir(&repo.root).arg("demo");
    match setup::node_packages(repo) {
        Ok(node) => {
            demo.arg("--node-modules").arg(&node.modules);
            demo.env("PATH", node.path_variable());
        }
        Err(fail) => println!("{fail}\nthe demo uses the MCP server inside the binary"),
    }
    demo.args(rest);
    process::stream(&mut demo)
}
