//! The scope of a task as values (decisions page, section 5).

use std::time::Duration;

use bailiwick_base::{GrantId, IdentityId, ServerName, TaskId, Time, ToolName};

/// Our decision to let an identity do things under one task until a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Id, tenant included.
    pub id: GrantId,
    /// The task it belongs to.
    pub task: TaskId,
    /// Who may.
    pub identity: IdentityId,
    /// What it may.
    pub scopes: Vec<Scope>,
    /// Until when.
    pub expires_at: Time,
}

/// One line of a grant: `server:action(conditions)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Upstream server (RFC 9396 `locations`).
    pub server: ServerName,
    /// Tool, or `None` for every tool of the server (written `*`).
    pub action: Option<ToolName>,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// How often, at most.
    pub rate: Option<Rate>,
}

/// A condition on one argument of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Argument name; members of objects with dots.
    pub arg: String,
    /// Comparison.
    pub operator: Operator,
    /// What it is compared with; several only for `in`.
    pub values: Vec<Literal>,
}

/// The comparisons of the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `=`
    Equal,
    /// `in`
    In,
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `under`: lexical containment of absolute paths without `..`, NUL or backslash.
    Under,
}

/// A literal of the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// `true`, `false`
    Bool(bool),
    /// A decimal number times 10,000 (Cedar's decimal has four digits behind the point).
    Decimal(i64),
    /// A whole number.
    Integer(i64),
    /// Quoted text.
    Text(String),
}

/// `rate 10/60s`: at most so many calls within any window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls.
    pub calls: u32,
    /// Window.
    pub window: Duration,
}
