//! A small MCP server inside the binary: reads and writes files under one folder, over standard streams, in both
//! eras. `bailiwick demo` uses it where there is no Node, as `bailiwick builtin-mcp --root DIR`.
//!
//! It is a server like any other: it trusts nobody, it knows nothing of grants, and what it may be asked is decided
//! in front of it. Its own rule is that no path leaves its folder, symbolic links included.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use bailiwick_base::json;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::answer;
use crate::method;

/// Bytes of one message, and of one file.
const MESSAGE_MAX: usize = 4 * 1024 * 1024;

/// Serves the files under `root` over the standard streams of this process, until the input ends.
///
/// # Errors
/// When `root` is no folder, or the streams break.
pub async fn serve_stdio(root: &Path) -> io::Result<()> {
    let input = BufReader::new(tokio::io::stdin());
    serve(root, input, tokio::io::stdout()).await
}

/// Serves the files under `root` over any pair of streams, one message a line.
///
/// # Errors
/// When `root` is no folder, or the streams break.
pub async fn serve<R, W>(root: &Path, mut input: R, mut output: W) -> io::Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let root = root.canonicalize()?;
    if !root.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            "the root is no folder",
        ));
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if let Some(mut text) = reply(&root, line.trim_ascii()) {
            text.push('\n');
            output.write_all(text.as_bytes()).await?;
            output.flush().await?;
        }
    }
}

/// A failure as JSON-RPC says it.
struct Failure(i64, String);

/// The answer to one message; `None` for notifications.
fn reply(root: &Path, line: &[u8]) -> Option<String> {
    let message =
        match json::parse(line, MESSAGE_MAX) {
            Ok(message) => message,
            Err(e) => return Some(
                json!({"jsonrpc": "2.0", "error": {"code": answer::PARSE_ERROR, "message": e.to_string()}})
                    .to_string(),
            ),
        };
    let id = message.get("id")?.clone();
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let empty = Map::new();
    let params = message.get("params").and_then(Value::as_object).unwrap_or(&empty);
    let modern = params
        .get("_meta")
        .and_then(|m| m.get(method::META_VERSION))
        .is_some();
    let answered = answered(root, method, params, modern).map(|result| dressed(result, method, modern));
    Some(match answered {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string(),
        Err(Failure(code, text)) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}).to_string()
        }
    })
}

fn answered(root: &Path, method: &str, params: &Map<String, Value>, modern: bool) -> Result<Value, Failure> {
    let capabilities = json!({"tools": {"listChanged": false}});
    let server = json!({"name": "bailiwick-files", "version": env!("CARGO_PKG_VERSION")});
    match method {
        "server/discover" if modern => Ok(json!({
            "supportedVersions": [method::MODERN],
            "capabilities": capabilities,
            "_meta": {method::META_SERVER: server},
        })),
        "initialize" if !modern => {
            Ok(json!({"protocolVersion": method::LEGACY, "capabilities": capabilities, "serverInfo": server}))
        }
        "ping" if !modern => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": definitions()})),
        "tools/call" => call(root, params),
        _ => Err(Failure(answer::METHOD_NOT_FOUND, "no such method".to_owned())),
    }
}

/// What 2026-07-28 wants in every result.
fn dressed(mut result: Value, method: &str, modern: bool) -> Value {
    if let (true, Some(result)) = (modern, result.as_object_mut()) {
        result.insert("resultType".to_owned(), "complete".into());
        if method != "tools/call" {
            result.insert("ttlMs".to_owned(), 0.into());
            result.insert("cacheScope".to_owned(), "private".into());
        }
    }
    result
}

fn definitions() -> Value {
    let path = json!({"type": "string", "description": "Absolute path, or a path below the served folder"});
    let schema = |properties: Value, required: &[&str]| json!({"type": "object", "properties": properties, "required": required});
    json!([
        {
            "name": "read_text_file",
            "description": "Reads a file as UTF-8 text",
            "inputSchema": schema(json!({"path": path}), &["path"]),
            "annotations": {"readOnlyHint": true},
        },
        {
            "name": "list_directory",
            "description": "Lists the entries of a folder",
            "inputSchema": schema(json!({"path": path}), &["path"]),
            "annotations": {"readOnlyHint": true},
        },
        {
            "name": "write_file",
            "description": "Writes a file, replacing what was there",
            "inputSchema": schema(json!({"path": path, "content": {"type": "string"}}), &["path", "content"]),
            "annotations": {"readOnlyHint": false, "destructiveHint": true, "idempotentHint": true},
        },
    ])
}

fn call(root: &Path, params: &Map<String, Value>) -> Result<Value, Failure> {
    let wrong = |text: String| Failure(answer::INVALID_PARAMS, text);
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let argument = |name: &str| {
        params
            .get("arguments")
            .and_then(|a| a.get(name))
            .and_then(Value::as_str)
    };
    let path = || argument("path").ok_or_else(|| wrong("`path` is missing".to_owned()));
    let done = match name {
        "read_text_file" => read_text_file(root, path()?),
        "list_directory" => list_directory(root, path()?),
        "write_file" => {
            let content = argument("content").ok_or_else(|| wrong("`content` is missing".to_owned()))?;
            write_file(root, path()?, content)
        }
        _ => return Err(wrong(format!("no such tool `{}`", answer::shown(name)))),
    };
    // A tool that fails says so in its result, where the caller's model can read it.
    Ok(match done {
        Ok(text) => json!({"content": [{"type": "text", "text": text}]}),
        Err(text) => json!({"content": [{"type": "text", "text": text}], "isError": true}),
    })
}

fn read_text_file(root: &Path, path: &str) -> Result<String, String> {
    let file = existing(root, path)?;
    let mut bytes = Vec::new();
    let opened = fs::File::open(&file).map_err(|e| failed(path, &e))?;
    if !opened.metadata().map_err(|e| failed(path, &e))?.is_file() {
        return Err(format!("`{}` is not a file", answer::shown(path)));
    }
    opened
        .take(MESSAGE_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| failed(path, &e))?;
    if bytes.len() > MESSAGE_MAX {
        return Err(format!(
            "`{}` is longer than {MESSAGE_MAX} bytes",
            answer::shown(path)
        ));
    }
    String::from_utf8(bytes).map_err(|_| format!("`{}` is not UTF-8 text", answer::shown(path)))
}

fn list_directory(root: &Path, path: &str) -> Result<String, String> {
    let folder = existing(root, path)?;
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| failed(path, &e))? {
        let entry = entry.map_err(|e| failed(path, &e))?;
        let kind = if entry.path().is_dir() { "[DIR]" } else { "[FILE]" };
        lines.push(format!("{kind} {}", entry.file_name().to_string_lossy()));
    }
    lines.sort();
    Ok(lines.join("\n"))
}

fn write_file(root: &Path, path: &str, content: &str) -> Result<String, String> {
    let wanted = below(root, path)?;
    let (Some(folder), Some(name)) = (wanted.parent(), wanted.file_name()) else {
        return Err(format!("`{}` names no file", answer::shown(path)));
    };
    // The folder is resolved first; an existing link in the place of the file is not followed.
    let file = contained(root, folder, path)?.join(name);
    if fs::symlink_metadata(&file).is_ok_and(|m| !m.is_file()) {
        return Err(format!("`{}` is not a file", answer::shown(path)));
    }
    fs::write(&file, content).map_err(|e| failed(path, &e))?;
    Ok(format!("wrote {} bytes", content.len()))
}

fn failed(path: &str, e: &io::Error) -> String {
    format!("`{}`: {}", answer::shown(path), e.kind())
}

/// The path as asked for, without `..`, below the root.
fn below(root: &Path, path: &str) -> Result<PathBuf, String> {
    let asked = Path::new(path);
    let plain = asked
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::RootDir | Component::CurDir));
    if !plain || path.contains('\0') {
        return Err(format!("`{}` is not a plain path", answer::shown(path)));
    }
    let whole = if asked.is_absolute() {
        asked.to_path_buf()
    } else {
        root.join(asked)
    };
    Ok(whole)
}

fn existing(root: &Path, path: &str) -> Result<PathBuf, String> {
    contained(root, &below(root, path)?, path)
}

/// The real place of `wanted`, if that is inside the root.
fn contained(root: &Path, wanted: &Path, shown: &str) -> Result<PathBuf, String> {
    let real = wanted.canonicalize().map_err(|e| failed(shown, &e))?;
    if real.starts_with(root) {
        return Ok(real);
    }
    Err(format!(
        "`{}` is outside of the served folder",
        answer::shown(shown)
    ))
}
