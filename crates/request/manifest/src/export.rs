//! Exports: answers of a platform that somebody put into files.
//!
//! A file holds answers of one source, named by the file (`users.json`, `users-2.json`, `users.ndjson`), or of several
//! in one object (`{"users": …, "roles": …}`). Answers are pages as the platform gives them, lists of pages, items,
//! lists of items, or one of these in each line. Where a page was asked for with parameters of its own it stands as
//! `{"given": {"user": "…"}, "answer": …}`.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_base::json;
use bailiwick_inventory::observation::{
    ALIASES_MAX, ATTRIBUTES_MAX, EVIDENCE_MAX, Observation, PlatformState, RELATIONS_MAX,
};
use serde_json::Value;

use crate::map::{Mapped, Shape};
use crate::model::{Manifest, Source};
use crate::remark::{Remark, Remarks};
use crate::text::Given;

/// Bytes of one file. Read, it takes up to some thirty times that.
pub const FILE_MAX: usize = 32 * 1024 * 1024;
/// Answers in answers in answers.
const WRAPPED_MAX: usize = 4;

/// Why a file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Not text.
    #[error("{0}")]
    Encoding(String),
    /// Not JSON, or cut off.
    #[error("{place}: {rule}")]
    Json {
        /// The whole file, or a line of it.
        place: String,
        /// What is wrong.
        rule: String,
    },
    /// Its name and its content name no source.
    #[error("names no source of this platform: call it after one, like `{example}.json`")]
    NoSource {
        /// One of the sources.
        example: String,
    },
    /// It is no answer of the source.
    #[error("{0}")]
    Page(String),
}

/// How far a source is covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// No file: nothing is known, which is not zero.
    NotCovered,
    /// At least one of its files could not be read to its end.
    Partly,
    /// All its files were read.
    Read,
}

/// What was read of one source.
#[derive(Debug, Default)]
pub struct SourceScan {
    /// Files, by name.
    pub files: BTreeSet<String>,
    /// Files that were not read, with the reason.
    pub broken: Vec<(String, ExportError)>,
    /// Items.
    pub items: usize,
    /// Observations, without those seen before.
    pub observations: usize,
    /// With the file in each place.
    pub left_out: Remarks,
    /// How many for each reason of the manifest.
    pub left_out_because: BTreeMap<String, usize>,
    /// With the file in each place.
    pub unmapped: Remarks,
    /// With the file in each place.
    pub notes: Remarks,
}

/// The source and the file that are being read.
#[derive(Clone, Copy)]
struct Here<'m, 'f> {
    source: &'m str,
    file: &'f str,
}

/// What an export shows, as far as it was read.
#[derive(Debug)]
pub struct Scan<'m> {
    manifest: &'m Manifest,
    given: Given,
    observations: Vec<Observation>,
    /// Type and id of each observation: the source that showed it first, and its place in the list.
    seen: BTreeMap<(String, String), (&'m str, usize)>,
    sources: BTreeMap<&'m str, SourceScan>,
    unknown: Vec<(String, ExportError)>,
}

impl<'m> Scan<'m> {
    /// Nothing read yet. `given` are parameters that hold for all files.
    #[must_use]
    pub fn new(manifest: &'m Manifest, given: Given) -> Self {
        let names = manifest.sources.keys();
        Self {
            manifest,
            given,
            observations: Vec::new(),
            seen: BTreeMap::new(),
            sources: names.map(|name| (name.as_str(), SourceScan::default())).collect(),
            unknown: Vec::new(),
        }
    }

    /// Reads one file. What is wrong with it is kept, by source where that is known.
    pub fn add(&mut self, file: &str, bytes: &[u8]) {
        let named = self.source_of(file);
        match documents(bytes) {
            Err(error) => self.broken(named, file, error),
            Ok(documents) => match named {
                Some(source) => self.documents(source, file, documents),
                None => self.combined(file, documents),
            },
        }
    }

    /// Everything seen, each thing once.
    #[must_use]
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// Every source of the manifest with what was read of it.
    pub fn sources(&self) -> impl Iterator<Item = (&'m str, &'m Source, &SourceScan)> {
        let sources = self.sources.iter();
        sources.filter_map(|(name, scan)| Some((*name, self.manifest.sources.get(*name)?, scan)))
    }

    /// Files that belong to no source, with the reason.
    #[must_use]
    pub fn unknown(&self) -> &[(String, ExportError)] {
        &self.unknown
    }

    /// The source that a file is named after: its folder, or its name up to a number behind `-` or `.`.
    fn source_of(&self, file: &str) -> Option<&'m str> {
        let words = file.rsplit('/').take(2);
        for word in words {
            let stem = word.split('.').next().unwrap_or_default();
            let plain = stem.trim_end_matches(|c: char| c.is_ascii_digit());
            let plain = plain.strip_suffix(['-', '_']).unwrap_or(stem);
            for word in [stem, plain] {
                let known = self.manifest.sources.get_key_value(word);
                if let Some((name, _)) = known {
                    return Some(name);
                }
            }
        }
        None
    }

    /// A file of several sources: an object whose members are all named after one.
    fn combined(&mut self, file: &str, documents: Vec<Value>) {
        let manifest = self.manifest;
        for document in documents {
            let members = match document {
                Value::Object(members) => members,
                _ => serde_json::Map::new(),
            };
            let is_known = |name: &String| manifest.sources.contains_key(name);
            if members.is_empty() || !members.keys().all(is_known) {
                let example = manifest.sources.keys().next().cloned().unwrap_or_default();
                self.broken(None, file, ExportError::NoSource { example });
                return;
            }
            for (name, answer) in members {
                if let Some((source, _)) = manifest.sources.get_key_value(&name) {
                    self.documents(source, file, vec![answer]);
                }
            }
        }
    }

    fn broken(&mut self, source: Option<&'m str>, file: &str, error: ExportError) {
        match source.and_then(|name| self.sources.get_mut(name)) {
            Some(scan) => {
                scan.files.insert(file.to_owned());
                scan.broken.push((file.to_owned(), error));
            }
            None => self.unknown.push((file.to_owned(), error)),
        }
    }

    fn documents(&mut self, source: &'m str, file: &str, documents: Vec<Value>) {
        if let Some(scan) = self.sources.get_mut(source) {
            scan.files.insert(file.to_owned());
        }
        let given = self.given.clone();
        let has_lines = file.ends_with(".ndjson") || file.ends_with(".jsonl");
        let is_alone = documents.len() == 1 && !has_lines;
        let mut items = Vec::new();
        let here = Here { source, file };
        for document in documents {
            self.document(here, document, &given, is_alone, &mut items, 0);
        }
        self.items(here, &items, &given);
    }

    /// A document that is `alone` in its file is a page; among others it may be an item, which is gathered.
    fn document(
        &mut self,
        here: Here<'m, '_>,
        document: Value,
        given: &Given,
        is_alone: bool,
        items: &mut Vec<Value>,
        depth: usize,
    ) {
        let Some(rules) = self.manifest.sources.get(here.source) else {
            return;
        };
        let document = match unwrapped(document) {
            Ok((more, answer)) if depth < WRAPPED_MAX => {
                let mut given = given.clone();
                given.extend(more);
                let mut inner = Vec::new();
                self.document(here, answer, &given, true, &mut inner, depth + 1);
                self.items(here, &inner, &given);
                return;
            }
            Ok((_, answer)) | Err(answer) => answer,
        };
        match (self.manifest.shape(rules, &document), document) {
            // The whole answer is a list, and so is a list of such answers.
            (_, Value::Array(list)) if depth < WRAPPED_MAX && !(rules.is_bare && is_plain(&list)) => {
                for document in list {
                    self.document(here, document, given, false, items, depth + 1);
                }
            }
            (Shape::Other, item) if !is_alone => items.push(item),
            (_, page) => match self.manifest.map(here.source, &page, given) {
                Ok(mapped) => self.mapped(here, mapped),
                Err(error) => self.broken(Some(here.source), here.file, ExportError::Page(error.to_string())),
            },
        }
    }

    fn items(&mut self, here: Here<'m, '_>, items: &[Value], given: &Given) {
        if items.is_empty() {
            return;
        }
        if let Ok(mapped) = self.manifest.map_items(here.source, items.iter(), given) {
            self.mapped(here, mapped);
        }
    }

    fn mapped(&mut self, Here { source, file }: Here<'m, '_>, mapped: Mapped) {
        let Some(scan) = self.sources.get_mut(source) else {
            return;
        };
        scan.items += mapped.items;
        scan.left_out.append(mapped.left_out, file);
        scan.unmapped.append(mapped.unmapped, file);
        scan.notes.append(mapped.notes, file);
        for (reason, count) in mapped.left_out_because {
            *scan.left_out_because.entry(reason).or_insert(0) += count;
        }
        for observation in mapped.observations {
            let key = (observation.type_name.clone(), observation.id.as_str().to_owned());
            let before = self.seen.get(&key).copied();
            if let Some((first, at)) = before
                && let Some(known) = self.observations.get_mut(at)
            {
                let differs = merge(known, observation);
                if first == source || differs {
                    let more = if differs {
                        ", and differs: the first counts"
                    } else {
                        ""
                    };
                    scan.notes.push(Remark {
                        place: file.to_owned(),
                        text: format!("{} `{}` is there twice{more}", key.0, key.1),
                    });
                }
                continue;
            }
            self.seen.insert(key, (source, self.observations.len()));
            self.observations.push(observation);
            scan.observations += 1;
        }
    }
}

impl SourceScan {
    /// How far it is covered.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        match (self.files.is_empty(), self.broken.is_empty()) {
            (true, _) => Coverage::NotCovered,
            (_, false) => Coverage::Partly,
            (_, true) => Coverage::Read,
        }
    }
}

/// Adds what another answer shows of the same thing. Says whether the two contradict each other.
fn merge(known: &mut Observation, more: Observation) -> bool {
    fn fill<T: PartialEq>(known: &mut Option<T>, more: Option<T>) -> bool {
        match (known.as_ref(), more) {
            (None, more) => {
                *known = more;
                false
            }
            (Some(known), more) => more.is_some_and(|more| *known != more),
        }
    }
    fn unite<T: PartialEq>(known: &mut Vec<T>, more: Vec<T>, max: usize) {
        for more in more {
            if known.len() < max && !known.contains(&more) {
                known.push(more);
            }
        }
    }
    let states = (known.state, more.state);
    if known.state == PlatformState::Unsaid {
        known.state = more.state;
    }
    let mut differs = states.1 != PlatformState::Unsaid && known.state != states.1;
    differs |= known.kind != more.kind;
    differs |= fill(&mut known.name, more.name);
    differs |= fill(&mut known.created_at, more.created_at);
    differs |= fill(&mut known.expires_at, more.expires_at);
    // The later of two uses is the last.
    known.used_at = known.used_at.max(more.used_at);
    unite(&mut known.aliases, more.aliases, ALIASES_MAX);
    unite(&mut known.owner, more.owner, EVIDENCE_MAX);
    unite(&mut known.relations, more.relations, RELATIONS_MAX);
    for (name, value) in more.attributes {
        match known.attributes.iter().find(|(known, _)| *known == name) {
            Some((_, known)) => differs |= *known != value,
            None if known.attributes.len() < ATTRIBUTES_MAX => known.attributes.push((name, value)),
            None => {}
        }
    }
    differs
}

/// Whether a list holds items, not answers.
fn is_plain(list: &[Value]) -> bool {
    let is_wrapped = |item: &Value| {
        let members = item.as_object().filter(|members| members.len() == 2);
        members.is_some_and(|members| members.contains_key("given") && members.contains_key("answer"))
    };
    !list.iter().any(|item| item.is_array() || is_wrapped(item))
}

/// The parameters and the answer of `{"given": …, "answer": …}`; anything else comes back.
fn unwrapped(document: Value) -> Result<(Given, Value), Value> {
    let Value::Object(mut members) = document else {
        return Err(document);
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let given = members.get("given").and_then(Value::as_object).and_then(|given| {
        let given = given.iter();
        given
            .map(|(name, value)| Some((name.clone(), text(value)?)))
            .collect::<Option<Given>>()
    });
    match given {
        Some(given) if members.len() == 2 => match members.remove("answer") {
            Some(answer) => Ok((given, answer)),
            None => Err(Value::Object(members)),
        },
        _ => Err(Value::Object(members)),
    }
}

/// The JSON values of a file: one, or one in each line.
fn documents(bytes: &[u8]) -> Result<Vec<Value>, ExportError> {
    let text = utf8(bytes)?;
    let whole = match json::parse(text.as_bytes(), FILE_MAX) {
        Ok(value) => return Ok(vec![value]),
        Err(error) => error,
    };
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let is_value = |line: &str| json::parse(line.trim().as_bytes(), FILE_MAX).is_ok();
    let has_lines = lines.clone().nth(1).is_some();
    if !has_lines || !lines.clone().next().is_some_and(|(_, line)| is_value(line)) {
        return Err(ExportError::Json {
            place: "the file".to_owned(),
            rule: told(&whole.to_string()),
        });
    }
    lines.try_fold(Vec::new(), |mut values, (at, line)| {
        let value = json::parse(line.trim().as_bytes(), FILE_MAX).map_err(|error| ExportError::Json {
            place: format!("line {}", at + 1),
            rule: told(&error.to_string()),
        })?;
        values.push(value);
        Ok(values)
    })
}

/// The end of the text where a value goes on is what a file that was cut off looks like.
fn told(rule: &str) -> String {
    if rule.contains("EOF while parsing") {
        return format!("{rule}; the file was cut off");
    }
    rule.to_owned()
}

fn utf8(bytes: &[u8]) -> Result<&str, ExportError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(ExportError::Encoding(
            "the file is UTF-16: save it as UTF-8".to_owned(),
        ));
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        ExportError::Encoding(format!(
            "byte {} is not UTF-8: save the file as UTF-8",
            error.valid_up_to()
        ))
    })
}
