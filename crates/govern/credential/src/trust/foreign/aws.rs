//! The trust policy of an AWS role.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::expression::{Absent, Expression, Glob, How, Sign, Test};
use super::pipeline::Pipeline;
use super::{ForeignError, ForeignPolicy, Platform, form};

const PROVIDER: &str = ":oidc-provider/";
const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

pub(super) fn read(value: &Value, kind: Option<Pipeline>) -> Result<Vec<ForeignPolicy>, ForeignError> {
    let statements = listed(
        value
            .get("Statement")
            .ok_or_else(|| form("`Statement` is missing"))?,
    );
    let mut allowed: BTreeMap<String, Vec<Expression>> = BTreeMap::new();
    let mut denied: BTreeMap<String, Vec<Expression>> = BTreeMap::new();
    for statement in statements {
        let effect = statement.get("Effect").and_then(Value::as_str);
        let into = match effect {
            Some("Allow") => &mut allowed,
            Some("Deny") => &mut denied,
            _ => return Err(form("`Effect` has to be `Allow` or `Deny`")),
        };
        if !acts(statement) {
            continue;
        }
        for issuer in issuers(statement) {
            let pipeline = Pipeline::of_issuer(&issuer).or(kind);
            let rule = condition(statement, &issuer, pipeline)?;
            into.entry(issuer).or_default().push(rule);
        }
    }
    if allowed.is_empty() {
        return Err(form("no statement lets an OpenID provider assume the role"));
    }
    allowed
        .into_iter()
        .map(|(issuer, rules)| {
            let pipeline = Pipeline::of_issuer(&issuer)
                .or(kind)
                .ok_or_else(|| ForeignError::Issuer(issuer.clone()))?;
            let mut parts = vec![Expression::Any(rules)];
            parts.extend(
                denied
                    .remove(&issuer)
                    .map(|no| Expression::Not(Box::new(Expression::Any(no)))),
            );
            Ok(ForeignPolicy {
                platform: Platform::Aws,
                pipeline,
                issuer,
                rule: Expression::All(parts),
                subject_only: false,
                audience_fixed: false,
            })
        })
        .collect()
}

fn listed(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    }
}

fn acts(statement: &Value) -> bool {
    let actions = statement.get("Action").map(listed).unwrap_or_default();
    let named = |action: &str| Glob::plain(&action.to_ascii_lowercase()).holds(&ACTION.to_ascii_lowercase());
    actions.into_iter().filter_map(Value::as_str).any(named)
}

/// The providers that a statement names, as the issuer without its scheme.
fn issuers(statement: &Value) -> Vec<String> {
    let named = statement.get("Principal").and_then(|p| p.get("Federated"));
    let named = named.map(listed).unwrap_or_default();
    let issuer = |arn: &Value| Some(arn.as_str()?.split_once(PROVIDER)?.1.to_owned());
    named.into_iter().filter_map(issuer).collect()
}

/// Operators and keys are ANDed; the values of one key are ORed.
fn condition(
    statement: &Value,
    issuer: &str,
    pipeline: Option<Pipeline>,
) -> Result<Expression, ForeignError> {
    let Some(condition) = statement.get("Condition") else {
        return Ok(Expression::True);
    };
    let operators = condition
        .as_object()
        .ok_or_else(|| form("`Condition` has to be an object"))?;
    let mut parts = Vec::new();
    for (operator, keys) in operators {
        let keys: &Map<String, Value> = keys
            .as_object()
            .ok_or_else(|| form(format!("`Condition.{operator}` has to be an object")))?;
        for (key, values) in keys {
            let values: Option<Vec<String>> = listed(values).into_iter().map(text).collect();
            let values = values.ok_or_else(|| form(format!("`{key}` has to have values of text")))?;
            let claim = key
                .strip_prefix(issuer)
                .and_then(|rest| rest.strip_prefix(':'))
                .map(|claim| known(claim, pipeline));
            parts.push(match claim {
                Some(claim) => test(operator, claim, values)?,
                // A key of AWS itself narrows by something that no token says.
                None => Expression::Opaque(format!("{operator} {key}")),
            });
        }
    }
    Ok(Expression::All(parts))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A claim that AWS makes no condition key of is never there, whatever the token says.
fn known(claim: &str, pipeline: Option<Pipeline>) -> String {
    match pipeline.and_then(Pipeline::aws_keys) {
        Some(keys) if !keys.contains(&claim) => format!("{claim} (no condition key)"),
        _ => claim.to_owned(),
    }
}

fn test(operator: &str, claim: String, values: Vec<String>) -> Result<Expression, ForeignError> {
    let (set, plain) = match operator.split_once(':') {
        Some((set @ ("ForAllValues" | "ForAnyValue"), rest)) => (Some(set), rest),
        Some(_) => return Err(form(format!("operator `{operator}` is not known"))),
        None => (None, operator),
    };
    let (plain, if_exists) = match plain.strip_suffix("IfExists") {
        Some(rest) => (rest, true),
        None => (plain, false),
    };
    let (plain, negated) = match plain {
        "StringNotEquals" => ("StringEquals", true),
        "StringNotEqualsIgnoreCase" => ("StringEqualsIgnoreCase", true),
        "StringNotLike" => ("StringLike", true),
        other => (other, false),
    };
    let how = match plain {
        "Null" => {
            let absent = values.iter().any(|v| v == "true");
            let there = Expression::Test(Test {
                claim,
                how: How::Present,
                absent: Absent::Fails,
                set_operator: false,
            });
            return Ok(if absent {
                Expression::Not(Box::new(there))
            } else {
                there
            });
        }
        "Bool" | "StringEquals" if !values.iter().any(|v| has_variable(v)) => How::Equals(values),
        "StringEqualsIgnoreCase" => How::Matches(Box::new(caseless(&values)?)),
        "StringLike" if !values.iter().any(|v| has_variable(v)) => {
            How::Like(values.iter().map(|v| glob(v)).collect())
        }
        "StringEquals" | "StringLike" => return Ok(Expression::Opaque(values.join(" "))),
        other => return Err(form(format!("operator `{other}` is not known"))),
    };
    // AWS: a missing key fails a positive operator and passes a negated one; the set operators differ.
    let absent = match (set, negated, if_exists) {
        (_, _, true) | (Some("ForAllValues"), _, _) | (None, true, _) => Absent::Holds,
        _ => Absent::Fails,
    };
    let inner = Test {
        claim,
        how,
        absent: if negated == (absent == Absent::Holds) {
            Absent::Fails
        } else {
            Absent::Holds
        },
        set_operator: set.is_some(),
    };
    Ok(if negated {
        Expression::Not(Box::new(Expression::Test(inner)))
    } else {
        Expression::Test(inner)
    })
}

/// `${…}` stands for something of the request, but for the three that stand for a sign.
fn has_variable(value: &str) -> bool {
    let without = ["${*}", "${?}", "${$}"]
        .iter()
        .fold(value.to_owned(), |text, sign| text.replace(sign, ""));
    without.contains("${")
}

fn glob(value: &str) -> Glob {
    let mut signs = Vec::new();
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        let escaped = ["${*}", "${?}", "${$}"]
            .into_iter()
            .find(|sign| rest.starts_with(sign));
        if let Some(sign) = escaped {
            signs.extend(sign.chars().nth(2).map(Sign::Is));
            rest = rest.get(sign.len()..).unwrap_or_default();
            continue;
        }
        signs.push(match c {
            '*' => Sign::Any,
            '?' => Sign::One,
            other => Sign::Is(other),
        });
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    Glob(signs)
}

fn caseless(values: &[String]) -> Result<Regex, ForeignError> {
    let any: Vec<String> = values.iter().map(|v| regex::escape(v)).collect();
    Regex::new(&format!("(?i)^(?:{})$", any.join("|")))
        .map_err(|_| ForeignError::TooLarge("a pattern may be"))
}
