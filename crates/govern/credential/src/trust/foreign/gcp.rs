//! A provider of a workload identity pool of Google Cloud: its condition, in CEL.
//! <https://cloud.google.com/iam/docs/workload-identity-federation>

use std::collections::BTreeMap;

use regex::RegexBuilder;
use serde_json::Value;

use super::expression::{Absent, Expression, How, Test};
use super::pipeline::Pipeline;
use super::syntax::{Cursor, Token};
use super::{DEPTH_MAX, ForeignError, ForeignPolicy, Platform, form};

/// Bytes of a compiled pattern.
const PATTERN_MAX: usize = 256 * 1024;

pub(super) fn read(value: &Value, kind: Option<Pipeline>) -> Result<Vec<ForeignPolicy>, ForeignError> {
    let issuer = value
        .get("oidc")
        .and_then(|oidc| oidc.get("issuerUri"))
        .and_then(Value::as_str)
        .ok_or_else(|| form("`oidc.issuerUri` is missing"))?;
    let mapping: BTreeMap<String, String> = value
        .get("attributeMapping")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, from)| Some((name.clone(), from.as_str()?.to_owned())))
        .collect();
    let rule = match value.get("attributeCondition").and_then(Value::as_str) {
        None | Some("") => Expression::True,
        Some(text) => Reader::new(text, &mapping)?.whole()?,
    };
    Ok(vec![ForeignPolicy {
        platform: Platform::Gcp,
        pipeline: Pipeline::of_issuer(issuer)
            .or(kind)
            .ok_or_else(|| ForeignError::Issuer(issuer.to_owned()))?,
        issuer: issuer.to_owned(),
        rule,
        subject_only: false,
        audience_fixed: true,
    }])
}

/// What stands at a place of the expression.
#[derive(Debug, Clone)]
enum Part {
    Claim(String),
    Flag(bool),
    List(Vec<Part>),
    /// A number: claims of pipelines are text, and never equal to it.
    Other,
    Rule(Expression),
    Text(String),
    Unknown,
}

struct Reader<'a> {
    cursor: Cursor,
    mapping: &'a BTreeMap<String, String>,
    text: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, mapping: &'a BTreeMap<String, String>) -> Result<Self, ForeignError> {
        Ok(Self {
            cursor: Cursor::new(text)?,
            mapping,
            text,
            depth: 0,
        })
    }

    fn whole(mut self) -> Result<Expression, ForeignError> {
        let part = self.any()?;
        match self.cursor.peek() {
            None => Ok(self.rule(part)),
            Some(_) => Err(form("the condition goes on where it should end")),
        }
    }

    fn opaque(&self) -> Expression {
        Expression::Opaque(self.text.to_owned())
    }

    fn rule(&self, part: Part) -> Expression {
        match part {
            Part::Rule(rule) => rule,
            Part::Flag(true) => Expression::True,
            Part::Flag(false) => Expression::Not(Box::new(Expression::True)),
            _ => self.opaque(),
        }
    }

    fn any(&mut self) -> Result<Part, ForeignError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ForeignError::TooLarge("32 levels"));
        }
        let first = self.all()?;
        let whole = if matches!(self.cursor.peek(), Some(Token::Sign("||"))) {
            let mut parts = vec![self.rule(first)];
            while self.cursor.take("||") {
                let next = self.all()?;
                parts.push(self.rule(next));
            }
            Part::Rule(Expression::Any(parts))
        } else {
            first
        };
        self.depth -= 1;
        Ok(whole)
    }

    fn all(&mut self) -> Result<Part, ForeignError> {
        let first = self.compared()?;
        if !matches!(self.cursor.peek(), Some(Token::Sign("&&"))) {
            return Ok(first);
        }
        let mut parts = vec![self.rule(first)];
        while self.cursor.take("&&") {
            let next = self.compared()?;
            parts.push(self.rule(next));
        }
        Ok(Part::Rule(Expression::All(parts)))
    }

    fn compared(&mut self) -> Result<Part, ForeignError> {
        let left = self.negated()?;
        let operator = match self.cursor.peek() {
            Some(Token::Sign(sign @ ("==" | "!=" | "<" | ">" | "<=" | ">="))) => *sign,
            Some(Token::Name(name)) if name == "in" => "in",
            _ => return Ok(left),
        };
        self.cursor.next();
        let right = self.negated()?;
        let rule = match operator {
            "==" => self.equal(left, right),
            "!=" => Expression::Not(Box::new(self.equal(left, right))),
            "in" => self.member(left, right),
            _ => self.opaque(),
        };
        Ok(Part::Rule(rule))
    }

    fn equal(&self, left: Part, right: Part) -> Expression {
        match (left, right) {
            (Part::Claim(claim), Part::Text(text)) | (Part::Text(text), Part::Claim(claim)) => {
                asked(claim, How::Equals(vec![text]))
            }
            (Part::Claim(claim), Part::Flag(_) | Part::Other)
            | (Part::Flag(_) | Part::Other, Part::Claim(claim)) => asked(claim, How::OtherType),
            (Part::Rule(rule), Part::Flag(true)) | (Part::Flag(true), Part::Rule(rule)) => rule,
            (Part::Rule(rule), Part::Flag(false)) | (Part::Flag(false), Part::Rule(rule)) => {
                Expression::Not(Box::new(rule))
            }
            _ => self.opaque(),
        }
    }

    fn member(&self, left: Part, right: Part) -> Expression {
        let (Part::Claim(claim), Part::List(items)) = (left, right) else {
            return self.opaque();
        };
        let texts = items.into_iter().filter_map(|item| match item {
            Part::Text(text) => Some(text),
            _ => None,
        });
        asked(claim, How::Equals(texts.collect()))
    }

    fn negated(&mut self) -> Result<Part, ForeignError> {
        if !self.cursor.take("!") {
            return self.value();
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ForeignError::TooLarge("32 levels"));
        }
        let inner = self.negated()?;
        self.depth -= 1;
        Ok(Part::Rule(Expression::Not(Box::new(self.rule(inner)))))
    }

    fn value(&mut self) -> Result<Part, ForeignError> {
        let mut part = match self.cursor.next() {
            Some(Token::Text(text)) => Part::Text(text),
            Some(Token::Number(_)) => Part::Other,
            Some(Token::Name(name)) => match name.as_str() {
                "true" => Part::Flag(true),
                "false" => Part::Flag(false),
                "has" => self.present()?,
                _ => self.claim(&name)?,
            },
            Some(Token::Sign("(")) => {
                let inner = self.any()?;
                self.cursor.require(")")?;
                inner
            }
            Some(Token::Sign("[")) => Part::List(self.listed("]")?),
            _ => return Err(form("a value is expected in the condition")),
        };
        while self.cursor.take(".") {
            part = self.called(part)?;
        }
        Ok(part)
    }

    fn listed(&mut self, end: &str) -> Result<Vec<Part>, ForeignError> {
        let mut items = Vec::new();
        while !self.cursor.take(end) {
            items.push(self.any()?);
            if !self.cursor.take(",") {
                self.cursor.require(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn present(&mut self) -> Result<Part, ForeignError> {
        self.cursor.require("(")?;
        let inner = self.value()?;
        self.cursor.require(")")?;
        Ok(Part::Rule(match inner {
            Part::Claim(claim) => Expression::Test(Test {
                absent: Absent::Fails,
                ..test(claim, How::Present)
            }),
            _ => self.opaque(),
        }))
    }

    /// `assertion.x`, `assertion['x']`, or what the mapping calls otherwise.
    fn claim(&mut self, root: &str) -> Result<Part, ForeignError> {
        let member = if self.cursor.take("[") {
            let Some(Token::Text(name)) = self.cursor.next() else {
                return Err(form("the name of a claim is expected in the condition"));
            };
            self.cursor.require("]")?;
            name
        } else {
            self.cursor.require(".")?;
            match self.cursor.next() {
                Some(Token::Name(name)) => name,
                _ => return Err(form("the name of a claim is expected in the condition")),
            }
        };
        if root == "assertion" {
            return Ok(Part::Claim(member));
        }
        let from = self.mapping.get(&format!("{root}.{member}"));
        let claim = from.and_then(|from| from.strip_prefix("assertion."));
        let is_plain = |claim: &&str| claim.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        Ok(claim
            .filter(is_plain)
            .map_or(Part::Unknown, |claim| Part::Claim(claim.to_owned())))
    }

    fn called(&mut self, on: Part) -> Result<Part, ForeignError> {
        let Some(Token::Name(method)) = self.cursor.next() else {
            return Err(form("the name of a method is expected in the condition"));
        };
        if !self.cursor.take("(") {
            return Ok(Part::Unknown);
        }
        let arguments = self.listed(")")?;
        let (Part::Claim(claim), [Part::Text(text)]) = (on, arguments.as_slice()) else {
            return Ok(Part::Unknown);
        };
        let how = match method.as_str() {
            "contains" => How::Contains(text.clone()),
            "endsWith" => How::Ends(text.clone()),
            "matches" => match RegexBuilder::new(text).size_limit(PATTERN_MAX).build() {
                Ok(regex) => How::Matches(Box::new(regex)),
                Err(_) => return Err(form("a pattern of the condition is no regular expression")),
            },
            "startsWith" => How::Starts(text.clone()),
            _ => return Ok(Part::Unknown),
        };
        Ok(Part::Rule(asked(claim, how)))
    }
}

fn test(claim: String, how: How) -> Test {
    Test {
        claim,
        how,
        absent: Absent::Error,
        set_operator: false,
    }
}

fn asked(claim: String, how: How) -> Expression {
    Expression::Test(test(claim, how))
}
