//! Paths into an answer: RFC 9535 JSONPath, without what is not linear.

use serde_json::Value;
use serde_json_path::JsonPath;

/// Characters of a path.
const PATH_MAX: usize = 256;

/// A path that visits every value of a document at most once for each of its own segments.
#[derive(Debug, Clone)]
pub struct Path(Form);

#[derive(Debug, Clone)]
enum Form {
    /// Member after member: what nearly every path is, without building lists.
    Members(Vec<String>),
    Query(Box<JsonPath>),
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it: not RFC 9535, or a form that could visit a value more than once: descendants (`..`),
    /// several selectors in one bracket, a function, or a filter that looks at the whole document (`$`).
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATH_MAX {
            return Err(format!("a path has at most {PATH_MAX} characters"));
        }
        require_linear(text)?;
        let query = JsonPath::parse(text).map_err(|error| {
            let at = error.position();
            format!("`{text}` is not a JSONPath (RFC 9535), at character {}", at + 1)
        })?;
        let form = members(text).map_or_else(|| Form::Query(Box::new(query)), Form::Members);
        Ok(Self(form))
    }

    /// The values that it selects, in document order.
    #[must_use]
    pub fn select<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        match &self.0 {
            Form::Members(names) => {
                let found = names.iter().try_fold(root, |value, name| value.get(name));
                found.into_iter().collect()
            }
            Form::Query(query) => query.query(root).all(),
        }
    }
}

/// `$.a.b` as its members.
fn members(text: &str) -> Option<Vec<String>> {
    let rest = text.strip_prefix('$')?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let names = rest.strip_prefix('.')?.split('.');
    names
        .map(|name| {
            let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            is_word.then(|| name.to_owned())
        })
        .collect()
}

fn require_linear(text: &str) -> Result<(), String> {
    let mut quote = None;
    let mut before = ' ';
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if let Some(open) = quote {
            if !escaped && c == open {
                quote = None;
            }
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '\'' | '"' => quote = Some(c),
            '.' if before == '.' => return Err(format!("`{text}`: `..` is not taken, name the members")),
            '(' if before.is_ascii_alphanumeric() || before == '_' => {
                return Err(format!("`{text}`: functions are not taken"));
            }
            ',' => return Err(format!("`{text}`: one selector in a bracket")),
            '$' if at > 0 => {
                return Err(format!(
                    "`{text}`: a filter looks at `@`, not at the whole document"
                ));
            }
            _ => {}
        }
        before = c;
    }
    Ok(())
}
