//! A standard-stream MCP server for the tests.
//!
//! `echo_mcp legacy|modern [LOG]` serves; `echo_mcp crash` ends at once; `echo_mcp environment` prints the names of
//! its environment variables.
#![expect(clippy::unwrap_used, reason = "a test program may fail loudly")]

use std::io::{BufRead, Write};

use serde_json::{Value, json};

fn main() {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    match mode.as_str() {
        "crash" => {
            eprintln!("no such model\u{1b}[31m");
            std::process::exit(3);
        }
        "environment" => {
            let names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
            println!("{}", json!(names));
        }
        _ => serve(mode == "modern", args.next()),
    }
}

fn say(message: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}").unwrap();
    out.flush().unwrap();
}

fn serve(modern: bool, log: Option<String>) {
    eprintln!("echo server on standard streams");
    let mut log = log.map(|path| {
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
    });
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        if let Some(log) = &mut log {
            writeln!(log, "{line}").unwrap();
        }
        let message: Value = serde_json::from_str(&line).unwrap();
        answer(modern, &message);
    }
}

fn answer(modern: bool, message: &Value) {
    let (Some(id), Some(method)) = (message.get("id"), message.get("method").and_then(Value::as_str)) else {
        return;
    };
    let params = message.get("params").cloned().unwrap_or_default();
    let result = match method {
        "server/discover" if modern => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "public",
            "capabilities": {"tools": {"listChanged": true}},
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "echo", "version": "1"}},
        }),
        "initialize" if !modern => json!({
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": "echo", "version": "1"},
        }),
        "tools/list" => tools(modern),
        "tools/call" => match call(modern, id, &params) {
            Some(result) => result,
            None => return,
        },
        _ => {
            say(
                &json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}}),
            );
            return;
        }
    };
    say(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
}

fn tools(modern: bool) -> Value {
    let tools: Vec<Value> = ["crash", "echo", "hang", "nosy", "progress"]
        .into_iter()
        .map(|name| json!({"name": name, "description": format!("the {name} tool"), "inputSchema": {"type": "object"}}))
        .collect();
    if modern {
        json!({"resultType": "complete", "ttlMs": 60000, "cacheScope": "public", "tools": tools})
    } else {
        json!({"tools": tools})
    }
}

fn call(modern: bool, id: &Value, params: &Value) -> Option<Value> {
    let token = params.pointer("/_meta/progressToken").cloned();
    match params.get("name").and_then(Value::as_str) {
        Some("crash") => std::process::exit(1),
        Some("hang") => return None,
        Some("nosy") => {
            // A question and news that name no call.
            say(
                &json!({"jsonrpc": "2.0", "id": 99, "method": "elicitation/create", "params": {"message": "who?"}}),
            );
            say(
                &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "for nobody"}}),
            );
            say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
        }
        Some("progress") => {
            if let Some(token) = token {
                // News of a call that is not open must reach nobody.
                say(
                    &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 4711, "progress": 1}}),
                );
                say(
                    &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1, "total": 2}}),
                );
                say(
                    &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 2, "total": 2}}),
                );
            }
        }
        _ => {}
    }
    let text = json!({"wire_id": id, "params": params}).to_string();
    let mut result = json!({"content": [{"type": "text", "text": text}]});
    if modern {
        result
            .as_object_mut()
            .unwrap()
            .insert("resultType".to_owned(), "complete".into());
    }
    Some(result)
}
