//! What is started, how, and when it ends.

use std::time::Duration;

use bailiwick_base::Digest;
use bailiwick_mcp::launcher::{Launcher, Output, Program, ProgramError};
use serde_json::json;

use crate::world::{Tokio, World, example, json_of, modern, program, until};

fn own(args: &[&str]) -> Program {
    let path = program().to_str().unwrap().to_owned();
    let digest = Digest::of(&std::fs::read(&path).unwrap()).to_string();
    Program {
        digests: vec![(path.clone(), digest)],
        path,
        args: args.iter().map(|a| (*a).to_owned()).collect(),
    }
}

fn launcher() -> (Launcher, tokio::process::Child) {
    Launcher::start_process(&example("launcher"), &[], &Tokio).unwrap()
}

#[tokio::test]
async fn a_program_starts_with_an_empty_environment() {
    let (launcher, _child) = launcher();
    let mut process = launcher.start(&own(&["environment"]));
    assert_eq!(process.outputs.recv().await, Some(Output::Started));
    let mut text = Vec::new();
    while let Some(Output::Bytes(bytes)) = process.outputs.recv().await {
        text.extend_from_slice(&bytes);
    }
    assert_eq!(String::from_utf8(text).unwrap().trim(), "[]");
}

#[tokio::test]
async fn only_a_verified_program_starts() {
    let (launcher, _child) = launcher();
    let mut wrong = own(&[]);
    wrong.digests[0].1 = Digest::of(b"something else").to_string();
    let folder = tempfile::tempdir().unwrap();
    let loose = folder.path().join("loose");
    std::fs::copy(program(), &loose).unwrap();
    std::fs::set_permissions(&loose, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let path = loose.to_str().unwrap().to_owned();
    let writable = Program {
        digests: vec![(path.clone(), own(&[]).digests[0].1.clone())],
        path,
        args: Vec::new(),
    };
    for (program, why) in [(wrong, "another SHA-256"), (writable, "only its owner may write")] {
        let mut process = launcher.start(&program);
        match process.outputs.recv().await {
            Some(Output::Ended(text)) => assert!(text.contains(why), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Starts the program, and gives what it said or why it was not started.
async fn said(launcher: &Launcher, program: &Program) -> Result<String, String> {
    let mut process = launcher.start(program);
    let mut text = Vec::new();
    loop {
        match process.outputs.recv().await {
            Some(Output::Started) => {}
            Some(Output::Bytes(bytes)) => text.extend_from_slice(&bytes),
            Some(Output::Ended(why)) if text.is_empty() => return Err(why),
            _ => return Ok(String::from_utf8(text).unwrap()),
        }
    }
}

fn at(path: &std::path::Path, args: &[&str]) -> Program {
    let path = path.to_str().unwrap().to_owned();
    Program {
        digests: vec![(
            path.clone(),
            Digest::of(&std::fs::read(&path).unwrap()).to_string(),
        )],
        path,
        args: args.iter().map(|a| (*a).to_owned()).collect(),
    }
}

fn mode(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn nothing_is_started_that_others_could_swap() {
    let (launcher, _child) = launcher();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let inner = root.join("inner");
    std::fs::create_dir(&inner).unwrap();
    let copy = inner.join("server");
    std::fs::copy(program(), &copy).unwrap();
    assert_eq!(
        said(&launcher, &at(&copy, &["environment"]))
            .await
            .unwrap()
            .trim(),
        "[]"
    );

    let link = root.join("link");
    std::os::unix::fs::symlink(&copy, &link).unwrap();
    let why = said(&launcher, &at(&link, &["environment"])).await.unwrap_err();
    assert!(
        why.contains("symbolic link") && why.contains("inner/server"),
        "{why}"
    );
    let way = root.join("way");
    std::os::unix::fs::symlink(&inner, &way).unwrap();
    let why = said(&launcher, &at(&way.join("server"), &["environment"]))
        .await
        .unwrap_err();
    assert!(why.contains("symbolic link"), "{why}");

    mode(&inner, 0o777);
    let why = said(&launcher, &at(&copy, &["environment"])).await.unwrap_err();
    assert!(why.contains("lets others replace"), "{why}");
    mode(&inner, 0o755);

    let script = inner.join("script");
    std::fs::write(&script, "#!/usr/bin/env node\n").unwrap();
    mode(&script, 0o755);
    let why = said(&launcher, &at(&script, &[])).await.unwrap_err();
    assert!(why.contains("is a script"), "{why}");
}

/// The path is turned to another program all the while; only the digested one ever speaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_changes_while_it_is_started_starts_nothing_else() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (launcher, _child) = launcher();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (place, spare) = (root.join("server"), root.join("spare"));
    std::fs::copy(program(), &place).unwrap();
    let echo = ["/usr/bin/echo", "/bin/echo"]
        .iter()
        .find(|p| std::path::Path::new(p).exists())
        .unwrap();
    std::fs::copy(echo, &spare).unwrap();
    let wanted = at(&place, &["environment"]);
    let done = std::sync::Arc::new(AtomicBool::new(false));
    let flipping = std::thread::spawn({
        let (done, third) = (std::sync::Arc::clone(&done), root.join("third"));
        move || {
            while !done.load(Ordering::Relaxed) {
                for (from, to) in [(&place, &third), (&spare, &place), (&third, &spare)] {
                    std::fs::rename(from, to).unwrap();
                }
                std::thread::yield_now();
            }
        }
    });
    let mut started = 0;
    for _ in 0..150 {
        if let Ok(text) = said(&launcher, &wanted).await {
            assert_eq!(text.trim(), "[]", "another program ran");
            started += 1;
        }
    }
    done.store(true, Ordering::Relaxed);
    flipping.join().unwrap();
    assert!(started > 0, "it was never found in its place");
}

#[tokio::test]
async fn a_program_inherits_no_descriptor_of_the_launcher() {
    let (launcher, _child) = launcher();
    let ls = std::fs::canonicalize("/bin/ls").unwrap();
    let listed = said(&launcher, &at(&ls, &["/proc/self/fd"])).await.unwrap();
    // What this test was itself started with passes through; nothing of the launcher does.
    let plain = std::process::Command::new(&ls)
        .arg("/proc/self/fd")
        .output()
        .unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    let plain: Vec<&str> = plain.split_whitespace().collect();
    assert!(plain.contains(&"2"), "{plain:?}");
    for descriptor in listed.split_whitespace() {
        assert!(plain.contains(&descriptor), "{descriptor} in {listed}");
    }
}

#[tokio::test]
async fn a_script_that_was_swapped_is_not_run_again() {
    let (launcher, _child) = launcher();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().canonicalize().unwrap().join("server.sh");
    std::fs::write(&script, "echo first").unwrap();
    let name = script.to_str().unwrap().to_owned();
    let mut program = at(&std::fs::canonicalize("/bin/sh").unwrap(), &[&name]);
    let why = program.require_files_named().unwrap_err();
    assert_eq!(why, ProgramError::ArgumentNoDigest(name.clone()));
    program
        .digests
        .push((name.clone(), Digest::of(b"echo first").to_string()));
    assert_eq!(program.require_files_named(), Ok(()));
    assert_eq!(said(&launcher, &program).await.unwrap(), "first\n");
    std::fs::write(&script, "echo second").unwrap();
    let why = said(&launcher, &program).await.unwrap_err();
    assert!(why.contains("another SHA-256") && why.contains(&name), "{why}");
    program.args = vec![
        format!("--config={name}x"),
        format!("-c={}", folder.path().display()),
    ];
    assert_eq!(program.require_files_named(), Ok(()), "neither is a file");
    program.args = vec!["--config=/etc/passwd".to_owned()];
    assert!(matches!(
        program.require_files_named(),
        Err(ProgramError::ArgumentNoDigest(_))
    ));
}

#[test]
fn the_form_of_an_order() {
    let good = own(&["--flag", "a b"]);
    assert_eq!(good.require_form(), Ok(()));
    for path in [
        "node",
        "./node",
        "/usr/../bin/sh",
        "/bin/sh/",
        "//bin/sh",
        "/bin/\nsh",
        "",
        "/",
    ] {
        let bad = Program {
            path: path.to_owned(),
            ..good.clone()
        };
        assert!(matches!(bad.require_form(), Err(ProgramError::Path(_))), "{path}");
    }
    let without = Program {
        digests: Vec::new(),
        ..good.clone()
    };
    assert!(matches!(without.require_form(), Err(ProgramError::NoDigest(_))));
    let nul = Program {
        args: vec!["a\0b".to_owned()],
        ..good
    };
    assert_eq!(nul.require_form(), Err(ProgramError::Argument(0)));
}

#[tokio::test]
async fn a_program_ends_with_its_user_and_with_the_launcher() {
    let (launcher, mut child) = launcher();
    let (mut one, mut two) = (
        launcher.start(&own(&["legacy"])),
        launcher.start(&own(&["legacy"])),
    );
    assert_eq!(one.outputs.recv().await, Some(Output::Started));
    assert_eq!(two.outputs.recv().await, Some(Output::Started));
    let parent = child.id().unwrap().to_string();
    let running = || {
        let mut ps = std::process::Command::new("ps");
        let listed = ps
            .args(["-o", "pid=", "--ppid", &parent])
            .output()
            .unwrap()
            .stdout;
        String::from_utf8(listed).unwrap().lines().count()
    };
    assert_eq!(running(), 2);
    drop(one);
    until("the first ended", || running() == 1).await;
    child.kill().await.unwrap();
    assert!(matches!(two.outputs.recv().await, Some(Output::Ended(_))));
}

#[tokio::test]
async fn a_crash_fails_its_calls_and_the_next_call_starts_again() {
    let world = World::with_launcher();
    world.add("up", world.exec(&["legacy"])).await;
    world.grant("t", 1, &["up:*"]);
    let call = |tool: &str| modern("t", "up", json!(1), "tools/call", json!({"name": tool}));
    let body = json_of(world.send(call("crash")).await).await;
    assert_eq!(body["error"]["data"]["code"], "upstream.exited", "{body}");
    // A pause after each crash, so that a broken program is not started again and again.
    let body = json_of(world.send(call("echo")).await).await;
    assert_eq!(body["error"]["data"]["code"], "upstream.exited", "{body}");
    world.clock.advance(Duration::from_millis(300));
    let body = json_of(world.send(call("echo")).await).await;
    assert!(body["result"].is_object(), "{body}");
}

#[tokio::test]
async fn a_program_that_does_not_speak_is_told_apart() {
    let world = World::with_launcher();
    let server = std::sync::Arc::new(world.unpinned("up", world.exec(&["crash"])));
    let failed = world.gateway.inspect(&server).await.unwrap_err();
    assert_eq!(failed.code(), "upstream.exited");
    let text = failed.to_string();
    assert!(
        text.contains("no such model") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[tokio::test]
async fn many_callers_share_a_program_and_never_meet() {
    let world = World::with_launcher();
    world.add("up", world.exec(&["legacy"])).await;
    world.grant("t", 1, &["up:*"]);
    world.grant("other", 2, &["up:*"]);
    let calls = (0..200_i64).map(|n| {
        let world = &world;
        async move {
            let token = if n % 2 == 0 { "t" } else { "other" };
            let canary = format!("canary-{n}-");
            let params = json!({"name": "progress", "arguments": {"canary": canary}, "_meta": {"progressToken": n % 3}});
            // The same id from everybody.
            let response = world.send(modern(token, "up", json!(1), "tools/call", params)).await;
            let text = crate::world::text_of(response).await;
            let events = crate::world::events_of(&text);
            assert_eq!(events.len(), 3, "{text}");
            assert!(events[..2].iter().all(|e| e["params"]["progressToken"] == n % 3));
            assert!(events[2].to_string().contains(&canary), "{text}");
            assert_eq!(text.matches("canary-").count(), 1, "{text}");
        }
    });
    futures_util::future::join_all(calls).await;
}
