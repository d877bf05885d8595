//! Texts with holes: `{$.Arn}`, `{^.name|after '/'}`, `{account}`.
//!
//! A hole is a path into the item (`$`), into the item around it (`^`, `^^` …), or a parameter, followed by steps.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::path::Path;

/// Parameters and what stands for them.
pub type Given = BTreeMap<String, String>;

/// A text with holes.
#[derive(Debug, Clone)]
pub struct Text {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Hole { origin: Origin, steps: Vec<Step> },
    Literal(String),
}

#[derive(Debug, Clone)]
enum Origin {
    /// `up` items outwards, then the path.
    Item {
        up: usize,
        path: Path,
    },
    Parameter(String),
}

/// What is done to a value; a value without the separator is none.
#[derive(Debug, Clone)]
enum Step {
    /// Behind the first of it.
    After(String),
    /// Up to the first of it.
    Before(String),
    /// This word where the path finds anything, whatever it is.
    Exists(String),
    /// Behind the last of it.
    Last(String),
    Lower,
}

/// Why a text has no value although the answer has something there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// An object, or a list of lists.
    NotText,
    /// A parameter that nobody gave.
    NotGiven,
    /// More than one value where one is meant.
    Several,
}

impl Trouble {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotGiven => "needs a parameter that was not given",
            Self::NotText => "is not text, number or truth value",
            Self::Several => "has several values",
        }
    }
}

/// Where a text is filled in: the items from the innermost outwards, and the parameters.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) item: &'a Value,
    pub(crate) outer: Option<&'a Place<'a>>,
    pub(crate) given: &'a Given,
}

impl<'a> Place<'a> {
    fn up(&self, levels: usize) -> Option<&'a Value> {
        match levels {
            0 => Some(self.item),
            _ => self.outer.and_then(|outer| outer.up(levels - 1)),
        }
    }
}

impl Text {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it: a brace without its other half, a bad path, an unknown step.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, behind) = rest.split_once('{').unwrap_or((rest, ""));
            if literal.contains('}') {
                return Err(format!("`{text}`: `}}` without `{{`"));
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            if literal.len() == rest.len() {
                break;
            }
            let (hole, behind) = behind
                .split_once('}')
                .ok_or_else(|| format!("`{text}`: `{{` without `}}`"))?;
            pieces.push(parse_hole(hole)?);
            rest = behind;
        }
        Ok(Self { pieces })
    }

    /// The parameters that it names.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Hole {
                origin: Origin::Parameter(name),
                ..
            } => Some(name.as_str()),
            _ => None,
        })
    }

    /// How many items outwards it looks; `None` when it looks into no item.
    #[must_use]
    pub fn depth(&self) -> Option<usize> {
        let depths = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Hole {
                origin: Origin::Item { up, .. },
                ..
            } => Some(*up),
            _ => None,
        });
        depths.max()
    }

    /// Every value: none where a hole has none, several where one hole has several.
    pub(crate) fn values(&self, place: &Place<'_>) -> Result<Vec<String>, Trouble> {
        let mut values = vec![String::new()];
        for piece in &self.pieces {
            let (origin, steps) = match piece {
                Piece::Literal(literal) => {
                    values.iter_mut().for_each(|value| value.push_str(literal));
                    continue;
                }
                Piece::Hole { origin, steps } => (origin, steps),
            };
            let (mut found, steps) = match steps.as_slice() {
                [Step::Exists(word), steps @ ..] => (origin.exists(place, word), steps),
                steps => (origin.values(place)?, steps),
            };
            for step in steps {
                found = found.iter().filter_map(|value| step.of(value)).collect();
            }
            match (found.as_slice(), values.as_slice()) {
                ([], _) => return Ok(Vec::new()),
                ([only], _) => values.iter_mut().for_each(|value| value.push_str(only)),
                (_, [so_far]) => values = found.iter().map(|more| format!("{so_far}{more}")).collect(),
                _ => return Err(Trouble::Several),
            }
        }
        Ok(values)
    }

    /// The one value, if any.
    pub(crate) fn one(&self, place: &Place<'_>) -> Result<Option<String>, Trouble> {
        let mut values = self.values(place)?.into_iter();
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Trouble::Several),
            (first, None) => Ok(first.filter(|text| !text.is_empty())),
        }
    }
}

impl Origin {
    fn exists(&self, place: &Place<'_>, word: &str) -> Vec<String> {
        let is_there = match self {
            Self::Parameter(name) => place.given.contains_key(name),
            Self::Item { up, path } => {
                let root = place.up(*up).unwrap_or(&Value::Null);
                path.select(root).iter().any(|value| !value.is_null())
            }
        };
        if is_there {
            vec![word.to_owned()]
        } else {
            Vec::new()
        }
    }

    fn values(&self, place: &Place<'_>) -> Result<Vec<String>, Trouble> {
        match self {
            Self::Parameter(name) => {
                let value = place.given.get(name).ok_or(Trouble::NotGiven)?;
                Ok(vec![value.clone()])
            }
            Self::Item { up, path } => {
                let mut texts = Vec::new();
                let root = place.up(*up).unwrap_or(&Value::Null);
                for value in path.select(root) {
                    match value {
                        Value::Array(list) => {
                            for value in list {
                                texts.extend(scalar(value)?);
                            }
                        }
                        value => texts.extend(scalar(value)?),
                    }
                }
                Ok(texts)
            }
        }
    }
}

/// Null is nothing.
fn scalar(value: &Value) -> Result<Option<String>, Trouble> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(_) | Value::Number(_) => Ok(Some(value.to_string())),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Array(_) | Value::Object(_) => Err(Trouble::NotText),
    }
}

impl Step {
    fn of(&self, value: &str) -> Option<String> {
        match self {
            Self::After(mark) => value.split_once(mark.as_str()).map(|(_, rest)| rest.to_owned()),
            Self::Before(mark) => value.split_once(mark.as_str()).map(|(text, _)| text.to_owned()),
            Self::Last(mark) => value.rsplit_once(mark.as_str()).map(|(_, rest)| rest.to_owned()),
            Self::Exists(word) => Some(word.clone()),
            Self::Lower => Some(value.to_lowercase()),
        }
    }
}

fn parse_hole(hole: &str) -> Result<Piece, String> {
    let (origin, steps) = parts(hole);
    let origin = origin.trim();
    let up = origin.chars().take_while(|c| *c == '^').count();
    let origin = if up > 0 || origin.starts_with('$') {
        let path = origin.trim_start_matches('^');
        let path = if up > 0 {
            format!("${path}")
        } else {
            path.to_owned()
        };
        Origin::Item {
            up,
            path: Path::parse(&path)?,
        }
    } else if !origin.is_empty() && origin.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
        Origin::Parameter(origin.to_owned())
    } else {
        return Err(format!(
            "`{{{hole}}}` is neither a path (`$`, `^`) nor a parameter"
        ));
    };
    let steps = steps
        .iter()
        .map(|step| parse_step(step))
        .collect::<Result<_, _>>()?;
    Ok(Piece::Hole { origin, steps })
}

/// Splits at `|` outside brackets and quotes.
fn parts(hole: &str) -> (&str, Vec<&str>) {
    let (mut brackets, mut quote, mut from) = (0_usize, None, 0);
    let mut parts = Vec::new();
    for (at, c) in hole.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => brackets += 1,
            (None, ']') => brackets = brackets.saturating_sub(1),
            (None, '|') if brackets == 0 => {
                parts.push(hole.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(hole.get(from..).unwrap_or_default());
    let mut parts = parts.into_iter();
    (parts.next().unwrap_or_default(), parts.collect())
}

fn parse_step(step: &str) -> Result<Step, String> {
    let step = step.trim();
    if step == "lower" {
        return Ok(Step::Lower);
    }
    let mark = |rest: &str| {
        let rest = rest.trim();
        let inside = rest.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        inside.filter(|mark| !mark.is_empty()).map(str::to_owned)
    };
    let made = match step.split_once(' ') {
        Some(("after", rest)) => mark(rest).map(Step::After),
        Some(("before", rest)) => mark(rest).map(Step::Before),
        Some(("exists", rest)) => mark(rest).map(Step::Exists),
        Some(("last", rest)) => mark(rest).map(Step::Last),
        _ => None,
    };
    made.ok_or_else(|| format!("`{step}` is no step: lower, after '…', before '…', exists '…', last '…'"))
}
