//! Scopes as `authorization_details` (RFC 9396).
//!
//! ```json
//! {"type":"bailiwick_call","locations":["filesystem"],"actions":["read_text_file"],
//!  "args":{"path":{"under":"/srv/invoices"}},"rate":{"calls":10,"window_s":60}}
//! ```
//!
//! The members of `args` are arguments (dots for members of objects); below each stands an object, or a list
//! of objects, from operator to value, all of which must hold. Several locations or actions mean every
//! combination. A decimal is written `{"decimal":"50.25"}`, because a JSON number does not say how many digits
//! were meant; a plain number with one to four digits behind the point is taken too.

use std::time::Duration;

use bailiwick_base::{ServerName, ToolName};
use serde_json::{Map, Value, json};

use crate::error::DetailsError;
use crate::model::{Condition, Literal, Operator, Rate, Scope};
use crate::scope::{decimal, decimal_text};
use crate::{CONDITIONS_MAX, RATE_WINDOW_MAX, SCOPES_MAX};

/// The `type` of our authorization details.
pub const DETAIL_TYPE: &str = "bailiwick_call";

/// Reads an array of details of type [`DETAIL_TYPE`]. Members that are not ours are refused, because
/// ignoring a restriction would widen the grant.
///
/// # Errors
/// [`DetailsError`] with the JSON path of the offence.
pub fn from_authorization_details(details: &Value) -> Result<Vec<Scope>, DetailsError> {
    let list = details
        .as_array()
        .ok_or_else(|| DetailsError::new("", "an array is wanted"))?;
    let mut scopes = Vec::new();
    for (n, detail) in list.iter().enumerate() {
        one(&format!("[{n}]"), detail, &mut scopes)?;
        if scopes.len() > SCOPES_MAX {
            return Err(DetailsError::new(
                format!("[{n}]"),
                format!("more than {SCOPES_MAX} scopes in one grant"),
            ));
        }
    }
    Ok(scopes)
}

fn one(at: &str, detail: &Value, scopes: &mut Vec<Scope>) -> Result<(), DetailsError> {
    let members = members(at, detail, &["type", "locations", "actions", "args", "rate"])?;
    if members.get("type").and_then(Value::as_str) != Some(DETAIL_TYPE) {
        return Err(DetailsError::new(
            format!("{at}.type"),
            format!("only `{DETAIL_TYPE}` is known here"),
        ));
    }
    let conditions = match members.get("args") {
        None => Vec::new(),
        Some(args) => conditions(&format!("{at}.args"), args)?,
    };
    let rate = members
        .get("rate")
        .map(|r| rate(&format!("{at}.rate"), r))
        .transpose()?;
    let servers = texts(&format!("{at}.locations"), members.get("locations"))?;
    let actions = texts(&format!("{at}.actions"), members.get("actions"))?;
    for location in &servers {
        let server = ServerName::parse(location)
            .map_err(|e| DetailsError::new(format!("{at}.locations"), e.to_string()))?;
        for action in &actions {
            let action = match *action {
                "*" => None,
                name => Some(
                    ToolName::parse(name)
                        .map_err(|e| DetailsError::new(format!("{at}.actions"), e.to_string()))?,
                ),
            };
            scopes.push(Scope {
                server: server.clone(),
                action,
                conditions: conditions.clone(),
                rate,
            });
            if scopes.len() > SCOPES_MAX {
                return Err(DetailsError::new(
                    at,
                    format!("more than {SCOPES_MAX} scopes in one grant"),
                ));
            }
        }
    }
    Ok(())
}

fn members<'a>(at: &str, value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, DetailsError> {
    let map = value
        .as_object()
        .ok_or_else(|| DetailsError::new(at, "an object is wanted"))?;
    match map.keys().find(|k| !known.contains(&k.as_str())) {
        None => Ok(map),
        Some(other) => Err(DetailsError::new(
            at,
            format!(
                "member `{}` is not known, only {}",
                bailiwick_base::limits::shown(other),
                known.join(", ")
            ),
        )),
    }
}

fn texts<'a>(at: &str, value: Option<&'a Value>) -> Result<Vec<&'a str>, DetailsError> {
    let wrong = || DetailsError::new(at, "a list of text with at least one entry is wanted");
    let list = value
        .and_then(Value::as_array)
        .filter(|l| !l.is_empty())
        .ok_or_else(wrong)?;
    list.iter().map(|v| v.as_str().ok_or_else(wrong)).collect()
}

fn conditions(at: &str, args: &Value) -> Result<Vec<Condition>, DetailsError> {
    let map = args
        .as_object()
        .ok_or_else(|| DetailsError::new(at, "an object is wanted"))?;
    let mut out = Vec::new();
    // Sorted, because the order of a map is not the same in every build.
    let mut names: Vec<&String> = map.keys().collect();
    names.sort();
    for name in names {
        let at = format!("{at}.{}", bailiwick_base::limits::shown(name));
        let tests = match map.get(name) {
            Some(Value::Array(list)) if !list.is_empty() => list.iter().collect(),
            Some(single) => vec![single],
            None => Vec::new(),
        };
        for test in tests {
            tests_of(&at, name, test, &mut out)?;
        }
    }
    if out.len() > CONDITIONS_MAX {
        return Err(DetailsError::new(
            at,
            format!("more than {CONDITIONS_MAX} conditions"),
        ));
    }
    Ok(out)
}

fn tests_of(at: &str, arg: &str, test: &Value, out: &mut Vec<Condition>) -> Result<(), DetailsError> {
    let known: Vec<&str> = Operator::ALL.iter().map(|o| o.as_str()).collect();
    let map = members(at, test, &known)?;
    if map.is_empty() {
        return Err(DetailsError::new(at, "an operator is missing"));
    }
    for operator in Operator::ALL {
        let Some(value) = map.get(operator.as_str()) else {
            continue;
        };
        let at = format!("{at}.{}", operator.as_str());
        let values = match (operator, value) {
            (Operator::In, Value::Array(list)) => list
                .iter()
                .map(|v| literal(&at, v))
                .collect::<Result<Vec<_>, _>>()?,
            (Operator::In, _) => return Err(DetailsError::new(at, "a list of values is wanted")),
            _ => vec![literal(&at, value)?],
        };
        let condition = Condition {
            arg: arg.to_owned(),
            operator,
            values,
        };
        condition
            .require_valid()
            .map_err(|problem| DetailsError::new(at, problem))?;
        out.push(condition);
    }
    Ok(())
}

fn literal(at: &str, value: &Value) -> Result<Literal, DetailsError> {
    let wrong = |what: &str| DetailsError::new(at, what);
    match value {
        Value::Bool(b) => Ok(Literal::Bool(*b)),
        Value::String(text) => Ok(Literal::Text(text.clone())),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) => Ok(Literal::Integer(n)),
            (None, Some(n)) => decimal_of(&format!("{n:?}"))
                .map(Literal::Decimal)
                .ok_or_else(|| {
                    wrong("a number of 64 bits, or with at most 4 digits behind the point, is wanted")
                }),
            (None, None) => Err(wrong("a number of 64 bits is wanted")),
        },
        Value::Object(_) => {
            let text = members(at, value, &["decimal"])?
                .get("decimal")
                .and_then(Value::as_str);
            text.and_then(decimal_of).map(Literal::Decimal).ok_or_else(|| {
                wrong("`{\"decimal\":\"50.25\"}` with 1 to 4 digits behind the point is wanted")
            })
        }
        Value::Array(_) | Value::Null => Err(wrong("text, a number, true or false is wanted")),
    }
}

fn decimal_of(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.')?;
    decimal(negative, whole, fraction)
}

fn rate(at: &str, value: &Value) -> Result<Rate, DetailsError> {
    let map = members(at, value, &["calls", "window_s"])?;
    let calls = map
        .get("calls")
        .and_then(Value::as_u64)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| DetailsError::new(format!("{at}.calls"), "a number from 1 to 4294967295 is wanted"))?;
    let window = map
        .get("window_s")
        .and_then(Value::as_u64)
        .map(Duration::from_secs)
        .filter(|w| !w.is_zero() && *w <= RATE_WINDOW_MAX)
        .ok_or_else(|| DetailsError::new(format!("{at}.window_s"), "seconds from 1 to 86400 are wanted"))?;
    Ok(Rate { calls, window })
}

/// Writes scopes as details, one for each scope.
#[must_use]
pub fn to_authorization_details(scopes: &[Scope]) -> Value {
    Value::Array(scopes.iter().map(detail).collect())
}

fn detail(scope: &Scope) -> Value {
    let mut out = Map::new();
    out.insert("type".to_owned(), json!(DETAIL_TYPE));
    out.insert("locations".to_owned(), json!([scope.server.as_str()]));
    out.insert(
        "actions".to_owned(),
        json!([scope.action.as_ref().map_or("*", ToolName::as_str)]),
    );
    if !scope.conditions.is_empty() {
        out.insert("args".to_owned(), args(&scope.conditions));
    }
    if let Some(rate) = &scope.rate {
        out.insert(
            "rate".to_owned(),
            json!({"calls": rate.calls, "window_s": rate.window.as_secs()}),
        );
    }
    Value::Object(out)
}

fn args(conditions: &[Condition]) -> Value {
    let mut out: Map<String, Value> = Map::new();
    for condition in conditions {
        let value = match condition.operator {
            Operator::In => Value::Array(condition.values.iter().map(literal_json).collect()),
            _ => condition.values.first().map_or(Value::Null, literal_json),
        };
        let mut test = Map::new();
        test.insert(condition.operator.as_str().to_owned(), value);
        let entry = out
            .entry(condition.arg.clone())
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = entry {
            list.push(Value::Object(test));
        }
    }
    for value in out.values_mut() {
        if let Value::Array(list) = value
            && list.len() == 1
        {
            *value = list.remove(0);
        }
    }
    Value::Object(out)
}

fn literal_json(literal: &Literal) -> Value {
    match literal {
        Literal::Bool(b) => json!(b),
        Literal::Decimal(n) => json!({"decimal": decimal_text(*n)}),
        Literal::Integer(n) => json!(n),
        Literal::Text(text) => json!(text),
    }
}
