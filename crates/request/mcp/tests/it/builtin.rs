//! The small server inside the binary.

use std::path::Path;

use serde_json::{Value, json};

/// What the server answers to these messages.
async fn answers(root: &Path, messages: &[Value]) -> Vec<Value> {
    let input: String = messages.iter().map(|m| format!("{m}\n")).collect();
    let mut output = std::io::Cursor::new(Vec::new());
    bailiwick_mcp::builtin::serve(root, input.as_bytes(), &mut output)
        .await
        .unwrap();
    let text = String::from_utf8(output.into_inner()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

fn text(answer: &Value) -> (&str, bool) {
    let result = &answer["result"];
    (
        result["content"][0]["text"].as_str().unwrap(),
        result["isError"] == true,
    )
}

#[tokio::test]
async fn it_speaks_both_eras() {
    let root = tempfile::tempdir().unwrap();
    let meta = crate::world::envelope();
    let messages = [
        json!({"jsonrpc": "2.0", "id": "d", "method": "server/discover", "params": {"_meta": meta}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "server/discover"}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 4, "method": "tools/list"}),
    ];
    let answers = answers(root.path(), &messages).await;
    assert_eq!(answers.len(), 5);
    assert_eq!(answers[0]["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(answers[1]["result"]["resultType"], "complete");
    assert_eq!(answers[2]["error"]["code"], -32601);
    assert_eq!(answers[3]["result"]["protocolVersion"], "2025-11-25");
    let names: Vec<&str> = answers[4]["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["read_text_file", "list_directory", "write_file"]);
    assert!(answers[4]["result"].get("resultType").is_none());
}

#[tokio::test]
async fn it_reads_lists_and_writes_below_its_folder() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().canonicalize().unwrap().join("invoice.txt");
    let path = path.to_str().unwrap();
    let messages = [
        call("write_file", json!({"path": path, "content": "42 EUR"})),
        call("read_text_file", json!({"path": path})),
        call("read_text_file", json!({"path": "invoice.txt"})),
        call("list_directory", json!({"path": "."})),
        call("read_text_file", json!({"path": "missing"})),
    ];
    let answers = answers(root.path(), &messages).await;
    assert_eq!(text(&answers[0]), ("wrote 6 bytes", false));
    assert_eq!(text(&answers[1]), ("42 EUR", false));
    assert_eq!(text(&answers[2]), ("42 EUR", false));
    assert_eq!(text(&answers[3]), ("[FILE] invoice.txt", false));
    assert!(text(&answers[4]).1);
}

#[tokio::test]
async fn it_never_leaves_its_folder() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    std::os::unix::fs::symlink(outside.path(), folder.join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), folder.join("file")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("new"), folder.join("dangling")).unwrap();
    let secret = outside.path().join("secret");
    let secret = secret.to_str().unwrap();
    let mut messages = Vec::new();
    for path in [
        secret,
        "../secret",
        "link/secret",
        "file",
        "a/../../secret",
        "/etc/passwd",
        "/",
        "\0",
        "",
    ] {
        messages.push(call("read_text_file", json!({"path": path})));
        messages.push(call(
            "write_file",
            json!({"path": path, "content": "overwritten"}),
        ));
    }
    messages.push(call("write_file", json!({"path": "dangling", "content": "x"})));
    messages.push(call("write_file", json!({"path": "link/new", "content": "x"})));
    messages.push(call("list_directory", json!({"path": "link"})));
    for answer in answers(folder, &messages).await {
        assert!(text(&answer).1, "{answer}");
        assert!(!answer.to_string().contains("\"secret\""));
    }
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "secret");
    assert!(!outside.path().join("new").exists());
}

#[tokio::test]
async fn it_refuses_what_it_cannot_read() {
    let root = tempfile::tempdir().unwrap();
    let input: &[u8] = b"{\n{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}\n[]\n{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/call\",\"params\":{\"name\":\"sh\"}}\n";
    let mut output = std::io::Cursor::new(Vec::new());
    bailiwick_mcp::builtin::serve(root.path(), input, &mut output)
        .await
        .unwrap();
    let text = String::from_utf8(output.into_inner()).unwrap();
    let codes: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["error"]["code"].clone())
        .collect();
    assert_eq!(codes, [json!(-32700), json!(-32700), json!(-32602)]);
}
