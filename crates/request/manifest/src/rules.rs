//! Reading what an item becomes.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_inventory::observation::{
    ALIASES_MAX, ATTRIBUTES_MAX, Edge, End, Evidence, ObservedKind, PlatformState,
};
use serde_saphyr::Spanned;

use crate::document as written;
use crate::model::{Becomes, Condition, Each, Instant, LeavesOut, RelationRule, Rule, State, Test};
use crate::read::{ManifestError, Reader};
use crate::text::Text;

/// Items in items in items.
const NESTED_MAX: usize = 4;

type Read<T> = Result<T, ManifestError>;

/// What every text of a rule may name.
struct Scope<'a> {
    known: &'a BTreeSet<String>,
    depth: usize,
}

pub(crate) fn becomes(
    reader: &Reader<'_>,
    leaves_out: &[Spanned<written::LeavesOut>],
    rules: &Spanned<Vec<Spanned<written::Rule>>>,
    known: &BTreeSet<String>,
    depth: usize,
) -> Read<Becomes> {
    let here = reader.at("becomes");
    let is_all_left_out = leaves_out.iter().any(|left| left.value.when.is_empty());
    if rules.value.is_empty() != is_all_left_out {
        let rule = "either rules, or one `leaves_out` without `when` that says why there are none";
        return Err(here.error(rules, rule));
    }
    if depth > NESTED_MAX {
        return Err(here.error(rules, format!("at most {NESTED_MAX} items in each other")));
    }
    let scope = Scope { known, depth };
    let leaves_out = leaves_out.iter().map(|left| {
        let here = reader.at("leaves_out");
        if left.value.because.is_empty() {
            return Err(here.error(left, "`because` is empty"));
        }
        Ok(LeavesOut {
            when: scope.conditions(&here, &left.value.when)?,
            because: left.value.because.clone(),
        })
    });
    Ok(Becomes {
        leaves_out: leaves_out.collect::<Read<_>>()?,
        rules: rules
            .value
            .iter()
            .map(|rule| scope.rule(&here, rule))
            .collect::<Read<_>>()?,
    })
}

impl Scope<'_> {
    fn rule(&self, reader: &Reader<'_>, rule: &Spanned<written::Rule>) -> Read<Rule> {
        let written = &rule.value;
        let reader = &reader.at(&written.type_name.value);
        reader
            .at("type")
            .require_word(&written.type_name, &written.type_name.value, '-')?;
        if written.also.len() > ALIASES_MAX || written.attributes.len() > ATTRIBUTES_MAX {
            let rule_text =
                format!("at most {ALIASES_MAX} under `also`, {ATTRIBUTES_MAX} under `attributes`");
            return Err(reader.error(rule, rule_text));
        }
        let mut attributes = Vec::new();
        for (name, texts) in &written.attributes {
            let here = reader.at("attributes").at(name);
            here.require_word(texts, name, '_')?;
            attributes.push((name.clone(), self.choice(&here, texts)?));
        }
        let instant = |member: &str, instant: &Option<Spanned<written::Instant>>| {
            let reader = reader.at(member);
            instant.as_ref().map(|at| self.instant(&reader, at)).transpose()
        };
        let name = written.name.as_ref();
        Ok(Rule {
            type_name: written.type_name.value.clone(),
            kind: kind(&reader.at("kind"), &written.kind)?,
            when: self.conditions(&reader.at("when"), &written.when)?,
            id: self.choice(&reader.at("id"), &written.id)?,
            also: self.texts(&reader.at("also"), &written.also)?,
            name: name.map_or(Ok(Vec::new()), |name| self.choice(&reader.at("name"), name))?,
            state: match &written.state {
                Some(state) => Some(self.state(&reader.at("state"), state)?),
                None => None,
            },
            created: instant("created", &written.created)?,
            used: instant("used", &written.used)?,
            expires: instant("expires", &written.expires)?,
            owner: self.owner(&reader.at("owner"), &written.owner)?,
            attributes,
            relations: self.relations(&reader.at("relations"), &written.relations)?,
            each: self.each(&reader.at("each"), &written.each)?,
        })
    }

    fn text<T>(&self, reader: &Reader<'_>, place: &Spanned<T>, text: &str) -> Read<Text> {
        let parsed = Text::parse(text).map_err(|rule| reader.error(place, rule))?;
        if parsed.depth().is_some_and(|up| up > self.depth) {
            return Err(reader.error(place, format!("`{text}` looks outside the item around it")));
        }
        reader.require_known(place, &parsed, self.known)?;
        Ok(parsed)
    }

    fn texts(&self, reader: &Reader<'_>, texts: &[Spanned<String>]) -> Read<Vec<Text>> {
        texts
            .iter()
            .map(|text| self.text(reader, text, &text.value))
            .collect()
    }

    fn choice(&self, reader: &Reader<'_>, choice: &Spanned<written::Choice>) -> Read<Vec<Text>> {
        let texts = &choice.value.0;
        if texts.is_empty() {
            return Err(reader.error(choice, "a list of no texts"));
        }
        texts.iter().map(|text| self.text(reader, choice, text)).collect()
    }

    fn conditions(
        &self,
        reader: &Reader<'_>,
        conditions: &[Spanned<written::Condition>],
    ) -> Read<Vec<Condition>> {
        let read = |condition: &Spanned<written::Condition>| {
            let written = &condition.value;
            let test = match (&written.is, &written.is_not, written.present) {
                (Some(words), None, None) => Test::Is(words.clone()),
                (None, Some(words), None) => Test::IsNot(words.clone()),
                (None, None, Some(present)) => Test::Present(present),
                _ => return Err(reader.error(condition, "one of `is`, `is_not`, `present`")),
            };
            Ok(Condition {
                text: self.text(reader, &written.text, &written.text.value)?,
                test,
            })
        };
        conditions.iter().map(read).collect()
    }

    fn state(&self, reader: &Reader<'_>, state: &Spanned<written::State>) -> Read<State> {
        let word = |text: &str| {
            PlatformState::parse(text).ok_or_else(|| {
                let words = PlatformState::ALL.map(PlatformState::as_str).join(", ");
                reader.error(state, format!("`{text}` is no state: {words}"))
            })
        };
        let written = &state.value;
        let mut table = BTreeMap::new();
        for (shown, means) in &written.table {
            table.insert(shown.clone(), word(means)?);
        }
        Ok(State {
            from: self.text(reader, &written.from, &written.from.value)?,
            table,
            otherwise: written.otherwise.as_deref().map(word).transpose()?,
            absent: written
                .absent
                .as_deref()
                .map_or(Ok(PlatformState::Unsaid), word)?,
        })
    }

    fn instant(&self, reader: &Reader<'_>, instant: &Spanned<written::Instant>) -> Read<Instant> {
        Ok(Instant {
            from: self.choice(&reader.at("from"), &instant.value.from)?,
            form: instant.value.form,
            never: instant.value.never.clone(),
        })
    }

    fn owner(&self, reader: &Reader<'_>, owner: &[Spanned<written::Owner>]) -> Read<Vec<(Evidence, Text)>> {
        let read = |owner: &Spanned<written::Owner>| {
            let evidence = Evidence::parse(&owner.value.evidence).ok_or_else(|| {
                let words = Evidence::ALL.map(Evidence::as_str).join(", ");
                reader.error(
                    owner,
                    format!("`{}` is no evidence: {words}", owner.value.evidence),
                )
            })?;
            let who = &owner.value.who;
            Ok((evidence, self.text(&reader.at("who"), who, &who.value)?))
        };
        owner.iter().map(read).collect()
    }

    fn relations(
        &self,
        reader: &Reader<'_>,
        relations: &[Spanned<written::Relation>],
    ) -> Read<Vec<RelationRule>> {
        let read = |relation: &Spanned<written::Relation>| {
            let written = &relation.value;
            let edge = Edge::parse(&written.edge).ok_or_else(|| {
                let words = Edge::ALL.map(Edge::as_str).join(", ");
                reader.error(relation, format!("`{}` is no edge: {words}", written.edge))
            })?;
            // What is named is the other end.
            let (end, other) = match (&written.from, &written.to) {
                (Some(from), None) => (End::To, from),
                (None, Some(to)) => (End::From, to),
                _ => return Err(reader.error(relation, "one of `from`, `to`: the other end of the edge")),
            };
            Ok(RelationRule {
                edge,
                end,
                other: self.text(reader, other, &other.value)?,
                platform: written.platform.clone(),
                when: self.conditions(&reader.at("when"), &written.when)?,
            })
        };
        relations.iter().map(read).collect()
    }

    fn each(&self, reader: &Reader<'_>, each: &[Spanned<written::Each>]) -> Read<Vec<Each>> {
        let read = |each: &Spanned<written::Each>| {
            let written = &each.value;
            Ok(Each {
                written: written.of.value.clone(),
                of: reader.at("of").path(&written.of)?,
                becomes: becomes(
                    reader,
                    &written.leaves_out,
                    &written.becomes,
                    self.known,
                    self.depth + 1,
                )?,
            })
        };
        each.iter().map(read).collect()
    }
}

fn kind(reader: &Reader<'_>, kind: &Spanned<BTreeMap<String, String>>) -> Read<ObservedKind> {
    let mut pairs = kind.value.iter();
    match (pairs.next(), pairs.next()) {
        (Some((level, sort)), None) => ObservedKind::parse(level, sort)
            .ok_or_else(|| reader.error(kind, format!("`{level}: {sort}` is no kind; see ADR 0048"))),
        _ => Err(reader.error(kind, "one level with its sort, like `identity: role`")),
    }
}
