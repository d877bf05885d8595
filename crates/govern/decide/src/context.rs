//! The context of a call, as far as policies read it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bailiwick_base::IdentityId;
use bailiwick_grant::vocabulary::{self, View};
use bailiwick_grant::{Reading, lookup};
use cedar_policy::pst::SmolStr;
use cedar_policy_core::ast::Value as CedarValue;
use serde_json::{Map, Value};

use crate::engine::{Members, decimal, flag, integer, record, text, texts};
use crate::policy::compiled::Needs;
use crate::policy::{Part, Supplied};

/// What the context is made from.
#[derive(Debug)]
pub(crate) struct Material<'a> {
    pub(crate) arguments: Cow<'a, Map<String, Value>>,
    pub(crate) count: u32,
    pub(crate) delegated: bool,
    pub(crate) door: &'static str,
    pub(crate) scoped: bool,
    pub(crate) server: &'a str,
    pub(crate) task: &'a str,
    pub(crate) action_properties: Members,
    pub(crate) caller_context: Members,
}

impl Material<'_> {
    /// Only what `needs` names. Policies cannot tell it from the whole.
    pub(crate) fn projected<'n>(&self, needs: impl IntoIterator<Item = &'n Needs>) -> Members {
        let mut out = Members::new();
        let mut views: [(View, Option<Members>); 6] = View::ALL.map(|view| (view, None));
        // What one policy did not find the next does not look for.
        let mut absent = BTreeSet::new();
        for needs in needs {
            for (view, members) in &mut views {
                if needs.views.contains(view) {
                    members.get_or_insert_default();
                }
                if needs.whole.contains(view) {
                    self.whole(*view, members.get_or_insert_default());
                }
            }
            for (view, arg) in &needs.args {
                let Some((_, members)) = views.iter_mut().find(|(v, _)| v == view) else {
                    continue;
                };
                let members = members.get_or_insert_default();
                if members.contains_key(arg) || absent.contains(&(*view, arg)) {
                    continue;
                }
                match lookup(&self.arguments, arg).and_then(|v| shown(*view, v)) {
                    Some(value) => {
                        members.insert(arg.clone(), value);
                    }
                    None => {
                        absent.insert((*view, arg));
                    }
                }
            }
            for name in &needs.context {
                if !out.contains_key(name)
                    && let Some(value) = self.attribute(name)
                {
                    out.insert(name.clone(), value);
                }
            }
        }
        for (view, members) in views {
            if let Some(members) = members {
                out.insert(SmolStr::new_static(view.name()), record(members));
            }
        }
        out
    }

    /// All of it.
    pub(crate) fn complete(&self) -> Members {
        let names = [
            "action",
            "caller",
            vocabulary::CONTEXT_COUNT,
            vocabulary::CONTEXT_DELEGATED,
            vocabulary::CONTEXT_DOOR,
            vocabulary::CONTEXT_SCOPED,
            vocabulary::CONTEXT_SERVER,
            vocabulary::CONTEXT_TASK,
        ];
        let mut out: Members = names
            .into_iter()
            .filter_map(|name| Some((SmolStr::new_static(name), self.attribute(name)?)))
            .collect();
        for view in View::ALL {
            let mut members = Members::new();
            self.whole(view, &mut members);
            out.insert(SmolStr::new_static(view.name()), record(members));
        }
        out
    }

    fn attribute(&self, name: &str) -> Option<CedarValue> {
        Some(match name {
            "action" => record(self.action_properties.clone()),
            "caller" => record(self.caller_context.clone()),
            vocabulary::CONTEXT_COUNT => integer(self.count.into()),
            vocabulary::CONTEXT_DELEGATED => flag(self.delegated),
            vocabulary::CONTEXT_DOOR => text(self.door),
            vocabulary::CONTEXT_SCOPED => flag(self.scoped),
            vocabulary::CONTEXT_SERVER => text(self.server),
            vocabulary::CONTEXT_TASK => text(self.task),
            _ => return None,
        })
    }

    /// Every argument as `view` shows it, members of objects with dots.
    fn whole(&self, view: View, members: &mut Members) {
        let mut open: Vec<(String, &Map<String, Value>)> = vec![(String::new(), &self.arguments)];
        while let Some((prefix, map)) = open.pop() {
            // A member with a point in its name cannot be named, so it is in no view.
            for (name, value) in map.iter().filter(|(name, _)| !name.contains('.')) {
                let path = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                if let Some(value) = shown(view, value) {
                    members.insert(path.as_str().into(), value);
                }
                if let Value::Object(inner) = value {
                    open.push((path, inner));
                }
            }
        }
    }
}

fn shown(view: View, value: &Value) -> Option<CedarValue> {
    Some(match view.read(value)? {
        Reading::Decimal(scaled) => decimal(scaled)?,
        Reading::Flag(value) => flag(value),
        Reading::Integer(value) => integer(value),
        Reading::Text(value) => text(value.as_ref()),
        Reading::Texts(values) => texts(values),
    })
}

/// The properties of one part of an AuthZEN evaluation that policies declare, of the type they declare.
pub(crate) fn supplied(
    supplied: &Supplied,
    part: Part,
    pep: &IdentityId,
    properties: &Map<String, Value>,
) -> Members {
    let entries = supplied.of(part, pep).filter_map(|(attribute, property, kind)| {
        let view = match kind {
            "Bool" => View::Flag,
            "Long" => View::Integer,
            "Set<String>" => View::Texts,
            "decimal" => View::Decimal,
            _ => View::Text,
        };
        Some((SmolStr::from(attribute), shown(view, properties.get(property)?)?))
    });
    entries.collect()
}
