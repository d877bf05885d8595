//! Names that people choose and that appear in paths, scopes and policies.

use std::fmt;
use std::sync::Arc;

/// Why a text is not a name of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{found}` is not valid: {rule}")]
pub struct NameError {
    what: &'static str,
    found: String,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the name.
            ///
            /// # Errors
            /// [`NameError`] with the rule that was broken.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) {
                    return Ok(Self(Arc::from(text)));
                }
                Err(NameError { what: $what, found: crate::limits::shown(text), rule: $rule })
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn slug(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

/// Control characters, and those that take no room or turn the direction of what follows: two labels that
/// look the same have to be the same.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

name! {
    /// The `agent` label: identities that are one logical agent until resolution exists.
    AgentLabel, "agent label", "use 1 to 128 characters, none of them a control or invisible character",
    |t| (1..=128).contains(&t.chars().count()) && !t.chars().any(is_unseen) && t.trim() == t
}
name! {
    /// A node of this installation; part of its decision log's origin.
    NodeName, "node name", "use 1 to 63 of a-z, 0-9, - and _, first a letter or digit",
    |t| slug(t, 63)
}
name! {
    /// An upstream MCP server inside a tenant; part of its URL and of scopes.
    ServerName, "server name", "use 1 to 63 of a-z, 0-9, - and _, first a letter or digit",
    |t| slug(t, 63)
}
name! {
    /// The name of a tool, prompt or resource method as its server gives it (MCP: 1 to 128 of A-Z a-z 0-9 _ - . /).
    ToolName, "tool name", "use 1 to 128 of A-Z, a-z, 0-9, _ - . and /",
    |t| (1..=128).contains(&t.len())
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'))
}
