//! From a page of an answer to observations: pure, total, and linear in the page.
//!
//! Every item of the page becomes an observation, or is left out for a reason of the manifest, or is named with what
//! kept it from being mapped. A page in which the list itself is missing is an error and never an empty page.

use std::collections::BTreeMap;

use bailiwick_base::Time;
use bailiwick_inventory::observation::{
    EVIDENCE_MAX, NAME_MAX, NativeId, Observation, OwnerEvidence, PlatformState, RELATIONS_MAX, Relation,
    Shown, TEXT_MAX,
};
use serde_json::Value;

use crate::document::TimeForm;
use crate::model::{Becomes, Condition, Instant, Manifest, Rule, Source, Test};
use crate::remark::{Remark, Remarks};
use crate::text::{Given, Place, Text, Trouble};

/// What a page became.
#[derive(Debug, Default)]
pub struct Mapped {
    /// Items of the page, those within items not counted.
    pub items: usize,
    /// What they became; an item may become several.
    pub observations: Vec<Observation>,
    /// Items that the manifest leaves out, with its reason.
    pub left_out: Remarks,
    /// How many for each reason.
    pub left_out_because: BTreeMap<String, usize>,
    /// Items, or parts of them, that could not be mapped. Nothing of them is in `observations`.
    pub unmapped: Remarks,
    /// What is missing or was cut in observations that were made.
    pub notes: Remarks,
}

/// Why a page is not an answer of the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The platform refused or failed.
    #[error("the platform answered with an error instead of {what}")]
    ErrorAnswer {
        /// What the source lists.
        what: String,
    },
    /// The list is not where the manifest says.
    #[error("there is no list of {what} in the page, so it is not an answer of `{source_name}`")]
    NoList {
        /// The source.
        source_name: String,
        /// What the source lists.
        what: String,
    },
    /// The manifest has no such source.
    #[error("platform `{platform}` has no source `{source_name}`")]
    NoSource {
        /// The platform.
        platform: String,
        /// The source.
        source_name: String,
    },
}

impl Manifest {
    /// Maps one page of a source. `given` are the parameters with which it was asked for.
    ///
    /// # Errors
    /// [`PageError`] when the page is not an answer of the source: nothing of it was mapped.
    pub fn map(&self, source: &str, page: &Value, given: &Given) -> Result<Mapped, PageError> {
        let found = self.source(source)?;
        match self.shape(found, page) {
            Shape::Empty => Ok(Mapped::default()),
            Shape::Error => Err(PageError::ErrorAnswer {
                what: found.what.clone(),
            }),
            Shape::Other => Err(PageError::NoList {
                source_name: source.to_owned(),
                what: found.what.clone(),
            }),
            Shape::Page => Ok(self.map_all(found, found.items.select(page).into_iter(), given)),
        }
    }

    /// Maps items of a source that stand for themselves, as exports have them.
    ///
    /// # Errors
    /// [`PageError::NoSource`].
    pub fn map_items<'v>(
        &self,
        source: &str,
        items: impl Iterator<Item = &'v Value>,
        given: &Given,
    ) -> Result<Mapped, PageError> {
        Ok(self.map_all(self.source(source)?, items, given))
    }

    fn source(&self, source: &str) -> Result<&Source, PageError> {
        self.sources.get(source).ok_or_else(|| PageError::NoSource {
            platform: self.platform.clone(),
            source_name: source.to_owned(),
        })
    }

    pub(crate) fn shape(&self, source: &Source, page: &Value) -> Shape {
        if self.errors.iter().any(|path| !path.select(page).is_empty()) {
            return Shape::Error;
        }
        let lists = source.container.select(page);
        let are_lists = lists.iter().all(|list| match list {
            Value::Array(_) => !source.is_single,
            Value::Object(_) => !source.is_bare,
            _ => false,
        });
        if !lists.is_empty() {
            return if are_lists { Shape::Page } else { Shape::Other };
        }
        let (Some(allowed), Value::Object(members)) = (&source.empty_page, page) else {
            return Shape::Other;
        };
        if members.keys().all(|name| allowed.contains(name)) {
            Shape::Empty
        } else {
            Shape::Other
        }
    }

    fn map_all<'v>(&self, source: &Source, items: impl Iterator<Item = &'v Value>, given: &Given) -> Mapped {
        let mut mapping = Mapping {
            platform: &self.platform,
            place: Vec::new(),
            mapped: Mapped::default(),
        };
        for (at, item) in items.enumerate() {
            mapping.mapped.items += 1;
            mapping.place.push(at.to_string());
            mapping.item(
                &source.becomes,
                &Place {
                    item,
                    outer: None,
                    given,
                },
            );
            mapping.place.pop();
        }
        mapping.mapped
    }
}

/// What a document is to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A page without items.
    Empty,
    /// An answer with an error.
    Error,
    /// None of these: perhaps an item.
    Other,
    /// A page.
    Page,
}

struct Mapping<'m> {
    platform: &'m str,
    place: Vec<String>,
    mapped: Mapped,
}

impl Mapping<'_> {
    fn remark(&self, text: String) -> Remark {
        Remark {
            place: self.place.join("."),
            text,
        }
    }

    fn note(&mut self, text: String) {
        let remark = self.remark(text);
        self.mapped.notes.push(remark);
    }

    fn unmapped(&mut self, text: String) {
        let remark = self.remark(text);
        self.mapped.unmapped.push(remark);
    }

    fn item(&mut self, becomes: &Becomes, place: &Place<'_>) {
        for left in &becomes.leaves_out {
            if hold(&left.when, place) {
                let remark = self.remark(left.because.clone());
                self.mapped.left_out.push(remark);
                let reasons = &mut self.mapped.left_out_because;
                *reasons.entry(left.because.clone()).or_insert(0) += 1;
                return;
            }
        }
        let mut is_anything = false;
        for rule in &becomes.rules {
            if hold(&rule.when, place) {
                is_anything = true;
                self.rule(rule, place);
            }
        }
        if !is_anything {
            self.unmapped("no rule of the manifest is for it".to_owned());
        }
    }

    fn rule(&mut self, rule: &Rule, place: &Place<'_>) {
        match id(rule, place) {
            Ok(id) => {
                let observation = self.observation(rule, id, place);
                self.mapped.observations.push(observation);
            }
            Err(why) => self.unmapped(format!("{}: {why}", rule.type_name)),
        }
        for each in &rule.each {
            for (at, item) in each.of.select(place.item).into_iter().enumerate() {
                self.place.push(format!("{}#{at}", each.written));
                self.item(
                    &each.becomes,
                    &Place {
                        item,
                        outer: Some(place),
                        given: place.given,
                    },
                );
                self.place.pop();
            }
        }
    }

    fn observation(&mut self, rule: &Rule, id: NativeId, place: &Place<'_>) -> Observation {
        let name = self.first("name", &rule.name, place);
        let mut observation = Observation {
            platform: self.platform.to_owned(),
            id,
            kind: rule.kind,
            type_name: rule.type_name.clone(),
            aliases: Vec::new(),
            name: name.map(|name| self.shown("name", &name, NAME_MAX)),
            state: self.state(rule, place),
            created_at: self.instant("created", rule.created.as_ref(), place),
            used_at: self.instant("used", rule.used.as_ref(), place),
            expires_at: self.instant("expires", rule.expires.as_ref(), place),
            owner: Vec::new(),
            attributes: Vec::new(),
            relations: Vec::new(),
        };
        for text in &rule.also {
            for alias in self.all("also", text, place) {
                if let Some(alias) = self.native("also", &alias)
                    && alias != observation.id
                    && !observation.aliases.contains(&alias)
                {
                    observation.aliases.push(alias);
                }
            }
        }
        self.keep(
            "also",
            &mut observation.aliases,
            bailiwick_inventory::observation::ALIASES_MAX,
        );
        for (evidence, who) in &rule.owner {
            for who in self.all("owner", who, place) {
                let evidence = *evidence;
                let who = self.shown("owner", &who, TEXT_MAX);
                observation.owner.push(OwnerEvidence { evidence, who });
            }
        }
        self.keep("owner", &mut observation.owner, EVIDENCE_MAX);
        for (name, texts) in &rule.attributes {
            if let Some(value) = self.first(name, texts, place) {
                let value = self.shown(name, &value, TEXT_MAX);
                observation.attributes.push((name.clone(), value));
            }
        }
        observation.relations = self.relations(rule, place);
        observation
    }

    fn relations(&mut self, rule: &Rule, place: &Place<'_>) -> Vec<Relation> {
        let mut relations = Vec::new();
        for relation in &rule.relations {
            if !hold(&relation.when, place) {
                continue;
            }
            for other in self.all("relations", &relation.other, place) {
                if let Some(other) = self.native("relations", &other) {
                    relations.push(Relation {
                        edge: relation.edge,
                        end: relation.end,
                        platform: relation.platform.clone(),
                        other,
                    });
                }
            }
        }
        self.keep("relations", &mut relations, RELATIONS_MAX);
        relations
    }

    fn keep<T>(&mut self, member: &str, list: &mut Vec<T>, max: usize) {
        if list.len() > max {
            self.note(format!("{member}: the first {max} of {}", list.len()));
            list.truncate(max);
        }
    }

    fn native(&mut self, member: &str, text: &str) -> Option<NativeId> {
        match NativeId::parse(text) {
            Ok(id) => Some(id),
            Err(why) => {
                self.note(format!("{member}: {why}"));
                None
            }
        }
    }

    fn shown(&mut self, member: &str, text: &str, max: usize) -> Shown {
        let shown = Shown::within(text, max);
        if shown.was_cut() {
            self.note(format!("{member}: {} bytes, cut to {max}", text.len()));
        }
        shown
    }

    /// The first text that has a value.
    fn first(&mut self, member: &str, texts: &[Text], place: &Place<'_>) -> Option<String> {
        for text in texts {
            match text.one(place) {
                Ok(Some(value)) => return Some(value),
                Ok(None) => {}
                Err(trouble) => self.note(format!("{member} {}", trouble.as_str())),
            }
        }
        None
    }

    fn all(&mut self, member: &str, text: &Text, place: &Place<'_>) -> Vec<String> {
        match text.values(place) {
            Ok(mut values) => {
                values.retain(|value| !value.is_empty());
                values
            }
            Err(trouble) => {
                self.note(format!("{member} {}", trouble.as_str()));
                Vec::new()
            }
        }
    }

    fn state(&mut self, rule: &Rule, place: &Place<'_>) -> PlatformState {
        let Some(state) = &rule.state else {
            return PlatformState::Unsaid;
        };
        match self.first("state", std::slice::from_ref(&state.from), place) {
            None => state.absent,
            Some(word) => match state.table.get(&word).copied().or(state.otherwise) {
                Some(state) => state,
                None => {
                    let word = Shown::within(&word, 64);
                    self.note(format!(
                        "state `{}` is not in the manifest's table",
                        word.as_str()
                    ));
                    PlatformState::Unsaid
                }
            },
        }
    }

    fn instant(&mut self, member: &str, instant: Option<&Instant>, place: &Place<'_>) -> Option<Time> {
        let instant = instant?;
        let text = self.first(member, &instant.from, place)?;
        if instant.never.contains(&text) {
            return None;
        }
        let time = parse_time(&text, instant.form);
        if time.is_none() {
            let text = Shown::within(&text, 64);
            self.note(format!(
                "{member} `{}` is not a time of the form that the manifest names",
                text.as_str()
            ));
        }
        time
    }
}

fn id(rule: &Rule, place: &Place<'_>) -> Result<NativeId, String> {
    let mut why = "the id is missing".to_owned();
    for text in &rule.id {
        match text.one(place) {
            Ok(Some(id)) => return NativeId::parse(&id).map_err(|error| error.to_string()),
            Ok(None) => {}
            Err(Trouble::NotGiven) => {
                let missing = text.parameters().find(|name| !place.given.contains_key(*name));
                why = format!("the id needs parameter `{}`", missing.unwrap_or_default());
            }
            Err(trouble) => why = format!("the id {}", trouble.as_str()),
        }
    }
    Err(why)
}

fn hold(conditions: &[Condition], place: &Place<'_>) -> bool {
    conditions.iter().all(|condition| {
        // What cannot be read as text is not any of the words, and is present.
        let values = condition.text.values(place);
        let is_any = |words: &[String]| {
            let values = values.as_deref().unwrap_or_default();
            values.iter().any(|value| words.contains(value))
        };
        match &condition.test {
            Test::Is(words) => is_any(words),
            Test::IsNot(words) => !is_any(words),
            Test::Present(present) => values.as_ref().map_or(true, |found| !found.is_empty()) == *present,
        }
    })
}

fn parse_time(text: &str, form: TimeForm) -> Option<Time> {
    match form {
        TimeForm::Rfc3339 => Time::parse(text).ok(),
        TimeForm::Unix => text.parse().ok().map(Time::from_secs),
        TimeForm::UnixMs => {
            let millis: i64 = text.parse().ok()?;
            Some(Time::from_micros(millis.saturating_mul(1_000)))
        }
        TimeForm::Utc => Time::parse(text)
            .or_else(|_| Time::parse(&format!("{text}Z")))
            .ok(),
    }
}
