//! Cedar's evaluator, policy by policy.
//!
//! The public authorizer takes a whole policy set and rebuilds each policy's condition on every call; this
//! uses the evaluator below it, with the conditions built once, over the policies that can match. It is the
//! only place that knows the crate below the public one; `decide_plain` and the corpus hold it against the
//! public authorizer.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::pst::SmolStr;
use cedar_policy::{Effect, Entities, EntityUid, RestrictedExpression};
use cedar_policy_core::ast::{self, EntityUIDEntry, Literal, Value, ValueKind};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use smallvec::SmallVec;

use crate::policy::compiled::Compiled;

/// The members of a record of Cedar.
pub(crate) type Members = BTreeMap<SmolStr, Value>;

/// What was asked: the three ids and the context.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    pub(crate) principal: &'a EntityUid,
    pub(crate) action: &'a EntityUid,
    pub(crate) resource: &'a EntityUid,
    pub(crate) context: Members,
}

/// The engine's answer before any rule of ours: which policies hold and which could not be evaluated.
#[derive(Debug, Default)]
pub(crate) struct Raw<'a> {
    pub(crate) permits: SmallVec<[&'a Compiled; 2]>,
    pub(crate) forbids: SmallVec<[&'a Compiled; 2]>,
    pub(crate) errors: SmallVec<[&'a Compiled; 2]>,
}

/// Evaluates `policies`.
pub(crate) fn evaluate<'a>(
    question: Question<'_>,
    entities: &Entities,
    policies: impl IntoIterator<Item = &'a Compiled>,
) -> Raw<'a> {
    let known = |uid: &EntityUid| {
        let uid: &ast::EntityUID = uid.as_ref();
        EntityUIDEntry::known(uid.clone(), None)
    };
    let asked = ast::Request::new_unchecked(
        known(question.principal),
        known(question.action),
        known(question.resource),
        Some(ast::Context::Value(Arc::new(question.context))),
    );
    evaluate_core(asked, entities, policies)
}

/// Evaluates `policies` for a request of Cedar.
pub(crate) fn evaluate_core<'a>(
    asked: ast::Request,
    entities: &Entities,
    policies: impl IntoIterator<Item = &'a Compiled>,
) -> Raw<'a> {
    let evaluator = Evaluator::new(asked, entities.as_ref(), Extensions::all_available());
    let mut raw = Raw::default();
    for compiled in policies {
        let value = evaluator.interpret(&compiled.condition, &compiled.slots);
        match value.as_ref().map(Value::value_kind) {
            Ok(ValueKind::Lit(Literal::Bool(false))) => {}
            Ok(ValueKind::Lit(Literal::Bool(true))) => match compiled.effect {
                Effect::Permit => raw.permits.push(compiled),
                Effect::Forbid => raw.forbids.push(compiled),
            },
            _ => raw.errors.push(compiled),
        }
    }
    raw
}

/// Text as a value.
pub(crate) fn text(value: impl Into<SmolStr>) -> Value {
    Value::from(Literal::from(value.into()))
}

/// A list of texts as a set.
pub(crate) fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> Value {
    Value::set(values.into_iter().map(text), None)
}

/// A truth value.
pub(crate) fn flag(value: bool) -> Value {
    Value::from(Literal::from(value))
}

/// A whole number.
pub(crate) fn integer(value: i64) -> Value {
    Value::from(Literal::from(value))
}

/// A record.
pub(crate) fn record(members: Members) -> Value {
    Value::record_arc(Arc::new(members), None)
}

/// A decimal that is given times 10,000; `None` if Cedar refuses it.
pub(crate) fn decimal(scaled: i64) -> Option<Value> {
    let (sign, magnitude) = (if scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
    let written = format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000);
    let name = "decimal".parse().ok()?;
    let function = Extensions::all_available().func(&name).ok()?;
    match function.call(&[text(written)]) {
        Ok(ast::PartialValue::Value(value)) => Some(value),
        _ => None,
    }
}

/// A value as the expression that yields it, for the doors of the public crate.
pub(crate) fn expression(value: &Value) -> RestrictedExpression {
    RestrictedExpression::from(ast::RestrictedExpr::from(value.clone()))
}
