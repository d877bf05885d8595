//! `bailiwick token`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Done;
use crate::args::Token;
use crate::files;
use crate::output::{Failure, Output, exit};

pub(crate) fn run(command: Token, output: &Output) -> Done {
    let Token::Inspect { file } = command;
    let text = files::read_text(&file)?;
    let mut parts = text.trim().split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::usage(
            "not a compact JWT: three parts with dots between are needed",
        ));
    };
    let document = json!({"verified": false, "header": part(header)?, "claims": part(claims)?});
    output.result(&document, |paper| {
        paper.line("nothing was verified");
        paper.line(format!("{document:#}"));
    });
    Ok(exit::OK)
}

/// The claims of a compact JWT; nothing is verified.
pub(super) fn claims(token: &str) -> Result<Value, Failure> {
    let claims = token.trim().split('.').nth(1).unwrap_or_default();
    part(claims)
}

fn part(text: &str) -> Result<Value, Failure> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| Failure::usage(format!("a part of the token is not base64url: {error}")))?;
    bailiwick_base::json::parse(&bytes, bailiwick_base::limits::TOKEN_MAX)
        .map_err(|error| Failure::usage(format!("a part of the token is {error}")))
}
