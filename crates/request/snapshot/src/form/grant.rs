//! A grant: its scopes as they were parsed, so that reading one again is no second parser.

use std::time::Duration;

use bailiwick_base::{ServerName, TenantId, Time, ToolName};
use bailiwick_grant::{Condition, Grant, Literal, Operator, Rate, Scope};
use serde::{Deserialize, Serialize};

use super::{id, id_text, read, word};
use crate::error::BodyError;

/// A grant.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantForm {
    id: String,
    task: String,
    identity: String,
    scopes: Vec<ScopeForm>,
    expires_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeForm {
    server: String,
    action: Option<String>,
    conditions: Vec<ConditionForm>,
    rate: Option<RateForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionForm {
    arg: String,
    operator: String,
    values: Vec<LiteralForm>,
}

/// Whole numbers go as text: a canonical JSON number keeps 53 bits only.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LiteralForm {
    Bool(bool),
    Decimal(String),
    Integer(String),
    Text(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateForm {
    calls: u32,
    window_ms: u64,
}

const OPERATORS: [(Operator, &str); 5] = [
    (Operator::Equal, "="),
    (Operator::In, "in"),
    (Operator::AtLeast, ">="),
    (Operator::AtMost, "<="),
    (Operator::Under, "under"),
];

impl GrantForm {
    pub(super) fn of(tenant: &TenantId, grant: &Grant) -> Result<Self, BodyError> {
        Ok(Self {
            id: id_text("grant/id", tenant, &grant.id)?,
            task: id_text("grant/task", tenant, &grant.task)?,
            identity: id_text("grant/identity", tenant, &grant.identity)?,
            scopes: grant.scopes.iter().map(ScopeForm::of).collect::<Result<_, _>>()?,
            expires_at: grant.expires_at.micros(),
        })
    }

    pub(super) fn read(self, tenant: &TenantId) -> Result<Grant, BodyError> {
        Ok(Grant {
            id: id("grant/id", tenant, &self.id)?,
            task: id("grant/task", tenant, &self.task)?,
            identity: id("grant/identity", tenant, &self.identity)?,
            scopes: self
                .scopes
                .into_iter()
                .map(ScopeForm::read)
                .collect::<Result<_, _>>()?,
            expires_at: Time::from_micros(self.expires_at),
        })
    }
}

impl ScopeForm {
    fn of(scope: &Scope) -> Result<Self, BodyError> {
        Ok(Self {
            server: scope.server.to_string(),
            action: scope.action.as_ref().map(ToolName::to_string),
            conditions: scope.conditions.iter().map(ConditionForm::of).collect(),
            rate: scope.rate.map(RateForm::of).transpose()?,
        })
    }

    fn read(self) -> Result<Scope, BodyError> {
        let action = self.action.as_deref().map(ToolName::parse);
        Ok(Scope {
            server: read("grant/server", ServerName::parse(&self.server))?,
            action: read("grant/action", action.transpose())?,
            conditions: self
                .conditions
                .into_iter()
                .map(ConditionForm::read)
                .collect::<Result<_, _>>()?,
            rate: self.rate.map(|form| Rate {
                calls: form.calls,
                window: Duration::from_millis(form.window_ms),
            }),
        })
    }
}

impl RateForm {
    fn of(rate: Rate) -> Result<Self, BodyError> {
        let window_ms = u64::try_from(rate.window.as_millis()).unwrap_or(u64::MAX);
        if Duration::from_millis(window_ms) != rate.window {
            return Err(BodyError::member(
                "grant/rate",
                "its window is not of whole milliseconds",
            ));
        }
        Ok(Self {
            calls: rate.calls,
            window_ms,
        })
    }
}

impl ConditionForm {
    fn of(condition: &Condition) -> Self {
        let operator = OPERATORS.iter().find(|(known, _)| *known == condition.operator);
        Self {
            arg: condition.arg.clone(),
            operator: operator.map_or("", |(_, word)| word).to_owned(),
            values: condition.values.iter().map(LiteralForm::of).collect(),
        }
    }

    fn read(self) -> Result<Condition, BodyError> {
        let operator = OPERATORS.iter().find(|(_, known)| *known == self.operator);
        Ok(Condition {
            operator: word(
                "grant/operator",
                &self.operator,
                operator.map(|(known, _)| *known),
            )?,
            arg: self.arg,
            values: self
                .values
                .into_iter()
                .map(LiteralForm::read)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl LiteralForm {
    fn of(literal: &Literal) -> Self {
        match literal {
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Decimal(value) => Self::Decimal(value.to_string()),
            Literal::Integer(value) => Self::Integer(value.to_string()),
            Literal::Text(value) => Self::Text(value.clone()),
        }
    }

    fn read(self) -> Result<Literal, BodyError> {
        let number = |text: &str| word("grant/values", text, text.parse::<i64>().ok());
        Ok(match self {
            Self::Bool(value) => Literal::Bool(value),
            Self::Decimal(text) => Literal::Decimal(number(&text)?),
            Self::Integer(text) => Literal::Integer(number(&text)?),
            Self::Text(text) => Literal::Text(text),
        })
    }
}
