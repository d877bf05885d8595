//! What policies mention, and the Cedar schema that fits it.
//!
//! The arguments of a call have no schema of ours: each tool brings its own. So the base schema
//! (`content/policies/schema.cedarschema`) declares everything but the members of the argument views, and a
//! schema for a set of policies is the base plus exactly the members they mention, all optional. Strict
//! validation then refuses a policy that reads an argument without asking with `has` first.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::pst::{self, Clause, EntityOrSlot, Expr, Literal, Var};
use cedar_policy::{Policy, Schema, SchemaFragment};
use serde_json::{Map, Value, json};

use crate::vocabulary::{ACTION, IDENTITY, OWN_TYPES, View};

/// The part of the schema that people read.
pub const BASE: &str = include_str!("../../../../content/policies/schema.cedarschema");

/// Why there is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A policy holds something that this release of Cedar does not show us.
    #[error("policy `{0}` holds an expression that is not known here")]
    Unknown(String),
    /// Cedar refuses the schema.
    #[error("the schema does not hold: {0}")]
    Unsound(String),
}

/// What a set of policies mentions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mentions {
    /// Members of the argument views. A view without members is asked for as a whole or only for presence.
    pub views: BTreeMap<View, BTreeSet<String>>,
    /// Views, or the context itself (then every view), that are read otherwise than member by member.
    pub whole: BTreeSet<View>,
    /// Attributes of the context that are not argument views.
    pub context: BTreeSet<String>,
    /// Entity types, without actions.
    pub types: BTreeSet<String>,
    /// Actions.
    pub actions: BTreeSet<String>,
    /// Whether attributes or ancestors of the principal may be read.
    pub reads_principal: bool,
    /// Whether attributes or ancestors of the resource may be read.
    pub reads_resource: bool,
    /// Whether attributes or ancestors of other entities may be read (named ones, or actions).
    pub reads_other: bool,
}

/// A property of an AuthZEN subject, resource, action or context that policies may read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// `subject`, `resource`, `action` or `context`.
    pub part: String,
    /// The attribute, with `untrusted_` in front if nobody vouches for it.
    pub name: String,
    /// `String`, `Long`, `Bool`, `decimal` or `Set<String>`.
    pub kind: String,
}

impl Mentions {
    /// What `policy` mentions.
    ///
    /// # Errors
    /// [`SchemaError::Unknown`] when Cedar cannot show the policy as a tree, or the tree holds a node that
    /// this crate does not know: nothing is guessed.
    pub fn of(policy: &Policy) -> Result<Self, SchemaError> {
        let unknown = || SchemaError::Unknown(policy.id().to_string());
        let tree = policy.to_pst().map_err(|_| unknown())?;
        let pst::Policy::Static(tree) = tree else {
            return Err(unknown());
        };
        let body = tree.body();
        let mut found = Self::default();
        found.head(body);
        for clause in body.clauses() {
            let (Clause::When(expr) | Clause::Unless(expr)) = clause;
            found.expr(expr).ok_or_else(unknown)?;
        }
        Ok(found)
    }

    /// Adds what `other` mentions.
    pub fn merge(&mut self, other: &Self) {
        for (view, args) in &other.views {
            self.views.entry(*view).or_default().extend(args.iter().cloned());
        }
        self.whole.extend(other.whole.iter().copied());
        self.context.extend(other.context.iter().cloned());
        self.types.extend(other.types.iter().cloned());
        self.actions.extend(other.actions.iter().cloned());
        self.reads_principal |= other.reads_principal;
        self.reads_resource |= other.reads_resource;
        self.reads_other |= other.reads_other;
    }

    fn head(&mut self, body: &pst::Template) {
        use pst::{ActionConstraint as A, PrincipalConstraint as P, ResourceConstraint as R};
        match &body.principal {
            P::Any => {}
            P::Eq(uid) => self.named(uid),
            P::Is(kind) => self.kind(kind),
            P::In(uid) => {
                self.named(uid);
                self.reads_principal = true;
            }
            P::IsIn(kind, uid) => {
                self.kind(kind);
                self.named(uid);
                self.reads_principal = true;
            }
        }
        match &body.resource {
            R::Any => {}
            R::Eq(uid) => self.named(uid),
            R::Is(kind) => self.kind(kind),
            R::In(uid) => {
                self.named(uid);
                self.reads_resource = true;
            }
            R::IsIn(kind, uid) => {
                self.kind(kind);
                self.named(uid);
                self.reads_resource = true;
            }
        }
        match &body.action {
            A::Any => {}
            A::Eq(uid) => self.uid(uid),
            A::In(uids) => uids.iter().for_each(|u| self.uid(u)),
        }
    }

    fn named(&mut self, uid: &EntityOrSlot) {
        if let EntityOrSlot::Entity(uid) = uid {
            self.uid(uid);
        }
    }

    fn uid(&mut self, uid: &pst::EntityUID) {
        let kind = uid.ty.to_string();
        if kind == ACTION {
            self.actions.insert(uid.eid.to_string());
        } else {
            self.types.insert(kind);
        }
    }

    fn kind(&mut self, kind: &pst::EntityType) {
        self.types.insert(kind.to_string());
    }

    /// `None` for a node that is not known here.
    fn expr(&mut self, expr: &Expr) -> Option<()> {
        match expr {
            Expr::Literal(Literal::EntityUID(uid)) => self.uid(uid),
            Expr::Literal(Literal::Bool(_) | Literal::Long(_) | Literal::String(_)) => {}
            Expr::Var(Var::Context) => self.everything(),
            Expr::Var(_) => {}
            Expr::UnaryOp { expr, .. } => self.expr(expr)?,
            Expr::BinaryOp { op, left, right } => self.binary(*op, left, right)?,
            Expr::GetAttr { expr, attr } => self.attribute(expr, std::iter::once(attr.as_str()), true)?,
            Expr::HasAttr { expr, attrs } => {
                self.attribute(expr, attrs.iter().map(pst::SmolStr::as_str), false)?;
            }
            Expr::Like { expr, .. } => self.expr(expr)?,
            Expr::Is {
                expr,
                entity_type,
                in_expr,
            } => {
                self.kind(entity_type);
                self.expr(expr)?;
                if let Some(group) = in_expr {
                    self.entity(expr)?;
                    self.expr(group)?;
                }
            }
            Expr::IfThenElse {
                cond,
                then_expr,
                else_expr,
            } => {
                self.expr(cond)?;
                self.expr(then_expr)?;
                self.expr(else_expr)?;
            }
            Expr::Set(items) => items.iter().try_for_each(|e| self.expr(e))?,
            Expr::Record(members) => members.values().try_for_each(|e| self.expr(e))?,
            _ => return None,
        }
        Some(())
    }

    fn binary(&mut self, op: pst::BinaryOp, left: &Expr, right: &Expr) -> Option<()> {
        use pst::BinaryOp as Op;
        if matches!(op, Op::In | Op::GetTag | Op::HasTag) {
            self.entity(left)?;
        } else {
            self.expr(left)?;
        }
        self.expr(right)
    }

    /// Data of the entity that `expr` stands for is read.
    fn entity(&mut self, expr: &Expr) -> Option<()> {
        match expr {
            Expr::Var(Var::Principal) => self.reads_principal = true,
            Expr::Var(Var::Resource) => self.reads_resource = true,
            Expr::Var(Var::Action) => self.reads_other = true,
            other => {
                self.reads_principal = true;
                self.reads_resource = true;
                self.reads_other = true;
                self.expr(other)?;
            }
        }
        Some(())
    }

    /// `expr.attr`, or `expr has a.b.c`.
    fn attribute<'a>(
        &mut self,
        expr: &Expr,
        mut attrs: impl Iterator<Item = &'a str>,
        reads: bool,
    ) -> Option<()> {
        match expr {
            Expr::Var(Var::Context) => {
                let name = attrs.next()?;
                let Some(view) = View::parse(name) else {
                    self.context.insert(name.to_owned());
                    return Some(());
                };
                let args = self.views.entry(view).or_default();
                match attrs.next() {
                    Some(arg) => {
                        args.insert(arg.to_owned());
                    }
                    None if reads => {
                        self.whole.insert(view);
                    }
                    None => {}
                }
            }
            Expr::GetAttr { expr: root, attr } if matches!(**root, Expr::Var(Var::Context)) => {
                if let Some(view) = View::parse(attr) {
                    self.views
                        .entry(view)
                        .or_default()
                        .insert(attrs.next()?.to_owned());
                } else {
                    self.context.insert(attr.to_string());
                }
            }
            other => self.entity(other)?,
        }
        Some(())
    }

    fn everything(&mut self) {
        self.whole.extend(View::ALL);
        for view in View::ALL {
            self.views.entry(view).or_default();
        }
        self.context.extend(CONTEXT.iter().map(|s| (*s).to_owned()));
    }
}

/// Attributes of the context that are not views.
pub(crate) const CONTEXT: [&str; 8] = [
    "action",
    "caller",
    "count",
    "delegated",
    "door",
    "scoped",
    "server",
    "task",
];

/// The schema for policies that mention `mentions` and read the properties `declared`.
///
/// # Errors
/// [`SchemaError::Unsound`] when a name is no Cedar name or Cedar refuses the whole.
pub fn schema_for(mentions: &Mentions, declared: &[Declared]) -> Result<Schema, SchemaError> {
    let unsound = |e: &dyn std::fmt::Display| SchemaError::Unsound(e.to_string());
    let (base, _) = SchemaFragment::from_cedarschema_str(BASE).map_err(|e| unsound(&e))?;
    let mut json = base.to_json_value().map_err(|e| unsound(&e))?;
    let root = json
        .get_mut("")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| SchemaError::Unsound("the base has no root namespace".to_owned()))?;
    for (view, args) in &mentions.views {
        let members = args
            .iter()
            .map(|arg| (arg.clone(), optional(member_type(*view))))
            .collect();
        patch(
            root,
            "commonTypes",
            &format!("{}View", view.name()),
            record(members),
        );
    }
    for (part, name) in [("action", "SuppliedAction"), ("context", "SuppliedContext")] {
        patch(root, "commonTypes", name, record(supplied(declared, part)));
    }
    foreign(root, mentions, declared);
    Schema::from_json_value(json).map_err(|e| unsound(&e))
}

/// Types and actions that are not ours: an AuthZEN enforcement point brings them.
fn foreign(root: &mut Map<String, Value>, mentions: &Mentions, declared: &[Declared]) {
    let types: Vec<&String> = mentions
        .types
        .iter()
        .filter(|t| !OWN_TYPES.contains(&t.as_str()))
        .collect();
    let mut attributes = supplied(declared, "subject");
    attributes.extend(supplied(declared, "resource"));
    for kind in &types {
        patch(
            root,
            "entityTypes",
            kind,
            json!({"shape": record(attributes.clone())}),
        );
    }
    let known: BTreeSet<String> = root
        .get("actions")
        .and_then(Value::as_object)
        .map(|a| a.keys().cloned().collect())
        .unwrap_or_default();
    let mut principals = vec![json!(IDENTITY)];
    principals.extend(types.iter().map(|t| json!(t)));
    let resources: Vec<Value> = if types.is_empty() {
        vec![json!("Server")]
    } else {
        principals.clone()
    };
    for action in mentions.actions.iter().filter(|a| !known.contains(*a)) {
        let applies = json!({
            "principalTypes": principals,
            "resourceTypes": resources,
            "context": {"type": "CallContext"},
        });
        patch(root, "actions", action, json!({"appliesTo": applies}));
    }
}

fn patch(root: &mut Map<String, Value>, section: &str, name: &str, value: Value) {
    let section = root.entry(section).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(members) = section {
        members.insert(name.to_owned(), value);
    }
}

fn supplied(declared: &[Declared], part: &str) -> Map<String, Value> {
    declared
        .iter()
        .filter(|d| d.part == part)
        .map(|d| (d.name.clone(), optional(supplied_type(&d.kind))))
        .collect()
}

fn record(attributes: Map<String, Value>) -> Value {
    json!({"type": "Record", "attributes": attributes})
}

fn optional(mut kind: Value) -> Value {
    if let Value::Object(members) = &mut kind {
        members.insert("required".to_owned(), json!(false));
    }
    kind
}

fn member_type(view: View) -> Value {
    match view {
        View::Path | View::Text => supplied_type("String"),
        View::Decimal => supplied_type("decimal"),
        View::Flag => supplied_type("Bool"),
        View::Integer => supplied_type("Long"),
        View::Texts => supplied_type("Set<String>"),
    }
}

fn supplied_type(kind: &str) -> Value {
    match kind {
        "Bool" => json!({"type": "Boolean"}),
        "Long" => json!({"type": "Long"}),
        "Set<String>" => json!({"type": "Set", "element": {"type": "String"}}),
        "decimal" => json!({"type": "Extension", "name": "decimal"}),
        _ => json!({"type": "String"}),
    }
}
