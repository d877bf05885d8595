//! A federated identity credential of Microsoft Entra.
//! <https://learn.microsoft.com/entra/workload-id/workload-identities-flexible-federated-identity-credentials>

use serde_json::Value;

use super::expression::{Absent, Expression, Glob, How, Test};
use super::pipeline::Pipeline;
use super::syntax::{Cursor, Token};
use super::{ForeignError, ForeignPolicy, Platform, form};

pub(super) fn read(value: &Value, kind: Option<Pipeline>) -> Result<Vec<ForeignPolicy>, ForeignError> {
    let all = match value.get("value").unwrap_or(value) {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    };
    all.into_iter().map(|one| credential(one, kind)).collect()
}

fn credential(value: &Value, kind: Option<Pipeline>) -> Result<ForeignPolicy, ForeignError> {
    let value = value.get("properties").unwrap_or(value);
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let issuer = text("issuer").ok_or_else(|| form("`issuer` is missing"))?;
    let flexible = value
        .get("claimsMatchingExpression")
        .and_then(|e| e.get("value").and_then(Value::as_str));
    let rule = match (text("subject"), flexible) {
        (Some(subject), None) => Expression::Test(asked("sub", How::Equals(vec![subject.to_owned()]))),
        (None, Some(expression)) => flexible_rule(expression)?,
        _ => return Err(form("either `subject` or `claimsMatchingExpression` is needed")),
    };
    Ok(ForeignPolicy {
        platform: Platform::Azure,
        pipeline: Pipeline::of_issuer(issuer)
            .or(kind)
            .ok_or_else(|| ForeignError::Issuer(issuer.to_owned()))?,
        issuer: issuer.to_owned(),
        rule,
        subject_only: flexible.is_none(),
        audience_fixed: true,
    })
}

fn asked(claim: &str, how: How) -> Test {
    Test {
        claim: claim.to_owned(),
        how,
        absent: Absent::Fails,
        set_operator: false,
    }
}

/// `claims['sub'] eq '…' and claims['job_workflow_ref'] matches '…'`
fn flexible_rule(text: &str) -> Result<Expression, ForeignError> {
    let mut cursor = Cursor::new(text)?;
    let mut parts = Vec::new();
    loop {
        if !cursor.take_name("claims") {
            return Err(form("`claims['…']` is expected in the expression"));
        }
        cursor.require("[")?;
        let Some(Token::Text(claim)) = cursor.next() else {
            return Err(form("the name of a claim is expected in the expression"));
        };
        cursor.require("]")?;
        let operator = cursor.next();
        let Some(Token::Text(value)) = cursor.next() else {
            return Err(form("a text is expected in the expression"));
        };
        parts.push(Expression::Test(match operator {
            Some(Token::Name(name)) if name == "eq" => asked(&claim, How::Equals(vec![value])),
            Some(Token::Name(name)) if name == "matches" => {
                asked(&claim, How::Like(vec![Glob::plain(&value)]))
            }
            _ => return Err(form("`eq` or `matches` is expected in the expression")),
        }));
        match cursor.next() {
            None => return Ok(Expression::All(parts)),
            Some(Token::Name(name)) if name == "and" => {}
            Some(_) => return Err(form("`and` is expected in the expression")),
        }
    }
}
