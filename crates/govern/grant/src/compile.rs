//! The one compiler from grants to Cedar. It builds Cedar's programmatic syntax tree, never text: a value of
//! a scope can only ever become a literal.
//!
//! What a condition means, given the argument as JSON:
//!
//! | condition | holds when |
//! |---|---|
//! | `a = "x"`, `a = true` | the argument is that text, that truth value |
//! | `a = 5`, `<=`, `>=` with a whole number | it is a whole number of 64 bits and compares so |
//! | `a = 5.0`, `<=`, `>=` with a decimal | it is a number with at most four digits behind the point and compares so |
//! | `a in ["x", "y"]` | it is one of these texts, or a list of texts, not empty, all among these |
//! | `a in [1, 2]` | it is one of these numbers |
//! | `a under "/srv/x"` | it is that path, or a path below it, absolute, without a `..` segment, NUL or backslash; or a list, not empty, of such paths |
//! | `a under "file:///srv/x"` | likewise for a URI; any `%`, `?` or `#` in it fails |
//!
//! Everything else (missing, null, another type, a number without exact form) does not satisfy the condition.
//! `under` is lexical: symbolic links, mount points and case folding are the upstream server's.

use std::sync::Arc;

use cedar_policy::pst::{
    ActionConstraint, BinaryOp, Clause, Effect, EntityOrSlot, EntityType, EntityUID, Expr,
    Literal as Constant, Name, NonEmpty, PatternElem, Policy as Tree, PolicyID, PrincipalConstraint,
    PstConstructionError, ResourceConstraint, StaticPolicy, Template, UnaryOp, Var,
};
use cedar_policy::{Policy, PolicyId, PolicySet, ValidationMode, Validator};

use crate::condition::path_of;
use crate::error::CompileError;
use crate::model::{Condition, Grant, Literal, Operator, Scope};
use crate::schema::{Mentions, schema_for};
use crate::scope::decimal_text;
use crate::vocabulary::{self, View, item_id};

/// The id of the policy of scope number `scope` of a grant: stable over restarts and nodes.
#[must_use]
pub fn policy_id(grant: &Grant, scope: usize) -> String {
    format!("{}#{scope}", grant.id)
}

/// One Cedar policy for each scope of the grant, in the order of the scopes.
///
/// # Errors
/// [`CompileError`] when a scope is not one the grammar can express; then nothing of the grant holds.
pub fn compile(grant: &Grant) -> Result<Vec<(PolicyId, Policy)>, CompileError> {
    grant
        .scopes
        .iter()
        .enumerate()
        .map(|(n, scope)| {
            let id = policy_id(grant, n);
            let policy = policy(grant, n, scope, &id)?;
            Ok((PolicyId::new(&id), policy))
        })
        .collect()
}

/// Compiles the grant and checks its policies strictly against the schema that fits them: done once, when
/// the grant is written.
///
/// # Errors
/// [`CompileError`] with Cedar's words.
pub fn validate(grant: &Grant) -> Result<(), CompileError> {
    for (n, (_, policy)) in compile(grant)?.into_iter().enumerate() {
        let failed = |problem: String| CompileError::Policy { scope: n, problem };
        let mentions = Mentions::of(&policy).map_err(|e| failed(e.to_string()))?;
        let schema = schema_for(&mentions, &[]).map_err(|e| failed(e.to_string()))?;
        let set = PolicySet::from_policies([policy]).map_err(|e| failed(e.to_string()))?;
        let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
        if let Some(error) = result.validation_errors().next() {
            return Err(failed(error.to_string()));
        }
    }
    Ok(())
}

fn policy(grant: &Grant, n: usize, scope: &Scope, id: &str) -> Result<Policy, CompileError> {
    let refused = |e: PstConstructionError| CompileError::Policy {
        scope: n,
        problem: e.to_string(),
    };
    let (action, resource) = head(scope).map_err(refused)?;
    let principal = uid(vocabulary::IDENTITY, &grant.identity.to_string()).map_err(refused)?;
    let mut body = equal(
        attribute(context(), vocabulary::CONTEXT_TASK),
        text(&grant.task.to_string()),
    );
    if !matches!(resource, ResourceConstraint::Eq(_)) {
        let server = text(scope.server.as_str());
        body = and(
            body,
            equal(attribute(context(), vocabulary::CONTEXT_SERVER), server),
        );
    }
    for condition in &scope.conditions {
        let test = test(condition).map_err(|problem| CompileError::Condition {
            scope: n,
            arg: condition.arg.clone(),
            problem,
        })?;
        body = and(body, test);
    }
    let template = Template::new(
        PolicyID::from(id),
        Effect::Permit,
        PrincipalConstraint::Eq(EntityOrSlot::Entity(principal)),
        action,
        resource,
    )
    .try_with_clauses([Clause::When(body)])
    .map_err(refused)?;
    let tree = StaticPolicy::try_from(template).map_err(|e| CompileError::Policy {
        scope: n,
        problem: e.to_string(),
    })?;
    Policy::from_pst(Tree::Static(tree)).map_err(refused)
}

/// The head of the policy. A scope names a tool, unless its action is one of the item methods
/// (`server:resources/read`), which then stand for themselves; `*` means every item of the server.
fn head(scope: &Scope) -> Result<(ActionConstraint, ResourceConstraint), PstConstructionError> {
    let action = |name: &str| uid(vocabulary::ACTION, name);
    let Some(name) = scope.action.as_ref().map(|a| a.as_str()) else {
        let every = vocabulary::ITEM_METHODS
            .iter()
            .map(|m| action(m))
            .collect::<Result<Vec<_>, _>>()?;
        return Ok((ActionConstraint::In(every), ResourceConstraint::Any));
    };
    if vocabulary::SCOPE_METHODS.contains(&name) {
        let kind = if name == vocabulary::PROMPTS_GET {
            vocabulary::PROMPT
        } else {
            vocabulary::RESOURCE
        };
        return Ok((
            ActionConstraint::Eq(action(name)?),
            ResourceConstraint::Is(entity_type(kind)?),
        ));
    }
    let tool = uid(vocabulary::TOOL, &item_id(scope.server.as_str(), name))?;
    Ok((
        ActionConstraint::Eq(action(vocabulary::TOOLS_CALL)?),
        ResourceConstraint::Eq(EntityOrSlot::Entity(tool)),
    ))
}

/// The expression of one condition; it can be false, never an error.
fn test(condition: &Condition) -> Result<Arc<Expr>, String> {
    condition.require_valid()?;
    let [first, ..] = condition.values.as_slice() else {
        return Err("a value is missing".to_owned());
    };
    let view = match first {
        Literal::Bool(_) => View::Flag,
        Literal::Decimal(_) => View::Decimal,
        Literal::Integer(_) => View::Integer,
        Literal::Text(_) => View::Text,
    };
    let arg = condition.arg.as_str();
    let value = member(view, arg);
    let compared = match (condition.operator, first) {
        (Operator::Equal, constant) => equal(value, literal(constant)),
        (Operator::In, Literal::Text(_)) => {
            let set: Arc<Expr> = Expr::Set(condition.values.iter().map(literal).collect()).into();
            let listed = binary(BinaryOp::Contains, set.clone(), value);
            return Ok(or(guarded(View::Text, arg, listed), all_listed(arg, set)));
        }
        (Operator::In, _) => {
            let set: Arc<Expr> = Expr::Set(condition.values.iter().map(literal).collect()).into();
            binary(BinaryOp::Contains, set, value)
        }
        (Operator::AtLeast, Literal::Decimal(_)) => binary(BinaryOp::DecimalGreaterEq, value, literal(first)),
        (Operator::AtMost, Literal::Decimal(_)) => binary(BinaryOp::DecimalLessEq, value, literal(first)),
        (Operator::AtLeast, _) => binary(BinaryOp::GreaterEq, value, literal(first)),
        (Operator::AtMost, _) => binary(BinaryOp::LessEq, value, literal(first)),
        // The view holds only clean paths, and for a list the path that holds them all.
        (Operator::Under, Literal::Text(base)) => {
            return Ok(guarded(View::Path, arg, below(&member(View::Path, arg), base)));
        }
        (Operator::Under, _) => return Err("`under` takes text".to_owned()),
    };
    Ok(guarded(view, arg, compared))
}

/// `context.texts has a && !context.texts.a.isEmpty() && set.containsAll(context.texts.a)`.
fn all_listed(arg: &str, set: Arc<Expr>) -> Arc<Expr> {
    let list = member(View::Texts, arg);
    let filled = not(unary(UnaryOp::IsEmpty, list.clone()));
    guarded(
        View::Texts,
        arg,
        and(filled, binary(BinaryOp::ContainsAll, set, list)),
    )
}

/// The path itself or one that goes on behind a `/`; below a root only the latter.
fn below(path: &Arc<Expr>, base: &str) -> Arc<Expr> {
    let stem = base.strip_suffix('/').unwrap_or(base);
    let inside = like(path, &[Some(stem), Some("/"), None]);
    if path_of(base) == Some("/") {
        return inside;
    }
    or(inside, equal(path.clone(), text(stem)))
}

fn guarded(view: View, arg: &str, test: Arc<Expr>) -> Arc<Expr> {
    and(has(attribute(context(), view.name()), arg), test)
}

fn member(view: View, arg: &str) -> Arc<Expr> {
    attribute(attribute(context(), view.name()), arg)
}

fn context() -> Arc<Expr> {
    Expr::Var(Var::Context).into()
}

fn attribute(expr: Arc<Expr>, attr: &str) -> Arc<Expr> {
    Expr::GetAttr {
        expr,
        attr: attr.into(),
    }
    .into()
}

fn has(expr: Arc<Expr>, attr: &str) -> Arc<Expr> {
    Expr::HasAttr {
        expr,
        attrs: NonEmpty::new(attr.into()),
    }
    .into()
}

fn unary(op: UnaryOp, expr: Arc<Expr>) -> Arc<Expr> {
    Expr::UnaryOp { op, expr }.into()
}

fn binary(op: BinaryOp, left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    Expr::BinaryOp { op, left, right }.into()
}

fn and(left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    binary(BinaryOp::And, left, right)
}

fn or(left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    binary(BinaryOp::Or, left, right)
}

fn not(expr: Arc<Expr>) -> Arc<Expr> {
    unary(UnaryOp::Not, expr)
}

fn equal(left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    binary(BinaryOp::Eq, left, right)
}

fn constant(value: Constant) -> Arc<Expr> {
    Expr::Literal(value).into()
}

fn text(value: &str) -> Arc<Expr> {
    constant(Constant::String(value.into()))
}

fn literal(value: &Literal) -> Arc<Expr> {
    match value {
        Literal::Bool(b) => constant(Constant::Bool(*b)),
        Literal::Decimal(n) => unary(UnaryOp::Decimal, text(&decimal_text(*n))),
        Literal::Integer(n) => constant(Constant::Long(*n)),
        Literal::Text(value) => text(value),
    }
}

/// `value like …`; `None` stands for the wildcard.
fn like(value: &Arc<Expr>, parts: &[Option<&str>]) -> Arc<Expr> {
    let mut pattern = Vec::new();
    for part in parts {
        match part {
            None => pattern.push(PatternElem::Wildcard),
            Some(text) => pattern.extend(text.chars().map(PatternElem::Char)),
        }
    }
    Expr::Like {
        expr: value.clone(),
        pattern,
    }
    .into()
}

fn entity_type(name: &str) -> Result<EntityType, PstConstructionError> {
    Ok(EntityType::from_name(Name::unqualified(name)?))
}

fn uid(kind: &str, id: &str) -> Result<EntityUID, PstConstructionError> {
    Ok(EntityUID {
        ty: entity_type(kind)?,
        eid: id.into(),
    })
}
