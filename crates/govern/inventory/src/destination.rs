//! Destinations: HTTP services of others, behind the egress proxy. What is put into their requests, and which methods
//! there are.

use bailiwick_base::limits::shown;
use bailiwick_base::{Digest, ToolName};

use crate::refusal::Refusal;
use crate::server::SeenTool;

/// Methods an agent may be granted.
pub const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
/// The right to go through without inspection.
pub const CONNECT: &str = "CONNECT";

const HEADER_MAX: usize = 1_024;
const SECRET: &str = "{secret}";
const BASIC: &str = "{basic:";
/// Headers that say how a message is read, or where it goes: never ours to set.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the secret stands in its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coding {
    /// `{basic:USER}`: Base64 of `USER:secret` (RFC 7617).
    Basic(String),
    /// `{secret}`: as it is.
    Plain,
}

/// `Name: text {secret} text`, the header a secret is put in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate {
    /// Name in lower case.
    pub name: String,
    /// What stands before the secret.
    pub before: String,
    /// How the secret is written.
    pub coding: Coding,
    /// What stands behind it.
    pub after: String,
}

impl HeaderTemplate {
    /// Parses a template: one header, one place for the secret.
    ///
    /// # Errors
    /// [`Refusal::HeaderTemplate`], [`Refusal::TooLong`].
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refused = |rule| {
            Err(Refusal::HeaderTemplate {
                found: shown(text),
                rule,
            })
        };
        if text.len() > HEADER_MAX {
            return Err(Refusal::TooLong {
                field: "header",
                len: text.len(),
                max: HEADER_MAX,
            });
        }
        let Some((name, value)) = text.split_once(':') else {
            return refused("write it as 'Name: Bearer {secret}'");
        };
        let name = name.to_ascii_lowercase();
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_token) {
            return refused("its name is not the name of a header");
        }
        if RESERVED.contains(&name.as_str()) {
            return refused("this header is the proxy's own");
        }
        let value = value.trim();
        if !value.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
            return refused("its value holds a character that cannot be in a header");
        }
        let found = match (value.split_once(SECRET), value.split_once(BASIC)) {
            (Some((before, after)), None) => Some((before, Coding::Plain, after)),
            (None, Some((before, rest))) => rest
                .split_once('}')
                .filter(|(user, _)| !user.contains(':'))
                .map(|(user, after)| (before, Coding::Basic(user.to_owned()), after)),
            _ => None,
        };
        match found {
            Some((before, coding, after)) if !before.contains('{') && !after.contains('{') => Ok(Self {
                name,
                before: before.to_owned(),
                coding,
                after: after.to_owned(),
            }),
            _ => refused(
                "name the place of the secret once: {secret}, or {basic:USER} for Basic authentication",
            ),
        }
    }
}

/// The methods of a destination in the form of tools, which is what scopes, marks and pins speak of.
///
/// # Errors
/// [`Refusal::MethodUnknown`], [`Refusal::MethodsMissing`].
pub fn methods_as_tools(methods: &[String], tunnel: bool) -> Result<Vec<SeenTool>, Refusal> {
    let mut wanted: Vec<&str> = methods.iter().map(String::as_str).collect();
    if let Some(unknown) = wanted.iter().find(|m| !METHODS.contains(m)) {
        return Err(Refusal::MethodUnknown(shown(unknown)));
    }
    if tunnel {
        wanted.push(CONNECT);
    }
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Err(Refusal::MethodsMissing);
    }
    wanted.into_iter().map(tool_of).collect()
}

/// What a scope may hold a request to: its host, its path without escapes, its query.
fn tool_of(method: &str) -> Result<SeenTool, Refusal> {
    let more = match method {
        CONNECT => "",
        _ => r#","path":{"type":"string"},"query":{"additionalProperties":true,"type":"object"}"#,
    };
    let definition = format!(
        r#"{{"inputSchema":{{"properties":{{"host":{{"type":"string"}}{more}}},"type":"object"}},"name":"{method}"}}"#
    );
    let name = ToolName::parse(method).map_err(|_| Refusal::MethodUnknown(shown(method)))?;
    Ok(SeenTool {
        name,
        digest: Digest::of(definition.as_bytes()),
        definition: definition.into_bytes(),
    })
}
