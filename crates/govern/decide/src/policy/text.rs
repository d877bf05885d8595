//! Bounds on policy text before Cedar sees it: its trees are walked by recursion, here and there.

use super::{OPERATORS_MAX, POLICIES_MAX, PolicyError};

/// Refuses text that is too long, or a policy with so many operators that its tree could be too deep.
pub(super) fn require_bounded(text: &str) -> Result<(), PolicyError> {
    if text.len() > POLICIES_MAX {
        return Err(PolicyError::at(
            text,
            0,
            format!("more than {POLICIES_MAX} bytes of policies"),
        ));
    }
    let mut operators = 0_usize;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                while let Some((_, inner)) = bytes.next() {
                    match inner {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                bytes.by_ref().find(|(_, inner)| *inner == b'\n');
            }
            b';' => operators = 0,
            // A word that is an operator stands between blanks.
            b'.' | b'+' | b'-' | b'*' | b'!' | b'&' | b'|' | b'=' | b'<' | b'>' | b'(' | b'[' | b'{'
            | b' ' | b'\t' | b'\r' | b'\n' => {
                operators += usize::from(!byte.is_ascii_whitespace());
                if byte.is_ascii_whitespace() && word_follows(text, at) {
                    operators += 1;
                }
                if operators > OPERATORS_MAX {
                    let message = format!("more than {OPERATORS_MAX} operators in one policy, split it");
                    return Err(PolicyError::at(text, at, message));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn word_follows(text: &str, at: usize) -> bool {
    let rest = text.get(at + 1..).unwrap_or("");
    ["if", "in", "has", "like", "is", "then", "else"]
        .iter()
        .any(|w| rest.starts_with(w))
}
