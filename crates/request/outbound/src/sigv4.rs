//! AWS Signature Version 4 of a POST with a body and no query: the one shape that the query and JSON protocols have.
//!
//! Own code over the one cryptography library, because the vendor's crate signs with another one and keeps the
//! secret in types that can be printed (ADR 0034).

use aws_lc_rs::digest;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use bailiwick_base::{Secret, Time};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SESSION: HeaderName = HeaderName::from_static("x-amz-security-token");
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// An access key: a pair of id and secret, with the token of its session if it is one.
pub struct AccessKey<'a> {
    /// Its id, which is no secret.
    pub id: &'a str,
    /// Its secret.
    pub secret: &'a Secret<Vec<u8>>,
    /// Token of the session.
    pub session: Option<&'a str>,
}

/// What is signed.
pub struct AwsPost<'a> {
    /// Host, and the port if it is not the usual one.
    pub authority: &'a str,
    /// Path, which needs no escapes.
    pub path: &'a str,
    /// Media type of the body.
    pub content: &'a str,
    /// The action in the JSON protocol; in the query protocol it stands in the body.
    pub target: Option<&'a str>,
    /// Word for the service, e.g. `iam`.
    pub service: &'a str,
    /// Region.
    pub region: &'a str,
    /// Body.
    pub body: &'a [u8],
    /// Now.
    pub at: Time,
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn keyed(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text.as_bytes())
}

/// `20150830T123600Z`, without fractions.
fn basic_date(at: Time) -> String {
    let text = Time::from_secs(at.secs()).to_string();
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

impl AwsPost<'_> {
    /// The headers to send with it, but for `host`, which whoever sends it sets to the same authority.
    ///
    /// # Errors
    /// The id of the key, the session or the action cannot stand in a header.
    pub fn sign(&self, key: &AccessKey<'_>) -> Result<HeaderMap, InvalidHeaderValue> {
        let date = basic_date(self.at);
        let mut said = vec![
            (CONTENT_TYPE, self.content),
            (http::header::HOST, self.authority),
            (DATE, date.as_str()),
        ];
        said.extend(key.session.map(|token| (SESSION, token)));
        said.extend(self.target.map(|target| (TARGET, target)));
        let authorization = self.authorization(key, &date, &said);
        let mut headers = HeaderMap::with_capacity(said.len());
        for (name, value) in said {
            headers.insert(name, HeaderValue::from_str(value)?);
        }
        headers.remove(http::header::HOST);
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization)?);
        Ok(headers)
    }

    /// `said` in the order of the names.
    fn authorization(&self, key: &AccessKey<'_>, date: &str, said: &[(HeaderName, &str)]) -> String {
        let day = date.split('T').next().unwrap_or_default();
        let names: Vec<&str> = said.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = said
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let body = hex(digest::digest(&digest::SHA256, self.body).as_ref());
        let canonical = format!("POST\n{}\n\n{lines}\n{names}\n{body}", self.path);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let mut first = zeroize::Zeroizing::new(b"AWS4".to_vec());
        first.extend_from_slice(key.secret.reveal());
        let derived = [self.region, self.service, "aws4_request"]
            .into_iter()
            .fold(keyed(&first, day), |tag, part| keyed(tag.as_ref(), part));
        let signature = hex(keyed(derived.as_ref(), &text).as_ref());
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            key.id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the vendor's own test suite (`post-x-www-form-urlencoded`), but for the character set in
    /// its media type, and a question of the JSON protocol, worked out with the vendor's Python library.
    #[test]
    fn a_post_is_signed_as_the_vendors_library_signs_it() {
        let secret = Secret::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec());
        let form = AwsPost {
            authority: "example.amazonaws.com",
            path: "/",
            content: "application/x-www-form-urlencoded; charset=utf-8",
            target: None,
            service: "service",
            region: "us-east-1",
            body: b"Param1=value1",
            at: Time::parse("2015-08-30T12:36:00.75Z").unwrap(),
        };
        let plain = AccessKey {
            id: "AKIDEXAMPLE",
            secret: &secret,
            session: None,
        };
        let said = |post: &AwsPost<'_>, key: &AccessKey<'_>| {
            let headers = post.sign(key).unwrap();
            assert_eq!(headers.get(DATE).unwrap(), "20150830T123600Z");
            headers.get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(said(&form, &plain), PLAIN);
        let session = AccessKey {
            session: Some("session+token/="),
            ..plain
        };
        assert_eq!(said(&form, &session), SESSION);
        let question = AwsPost {
            content: "application/x-amz-json-1.1",
            target: Some("TrentService.Sign"),
            service: "kms",
            body: b"{}",
            ..form
        };
        let signed = question.sign(&session).unwrap();
        assert_eq!(signed.get(TARGET).unwrap(), "TrentService.Sign");
        assert_eq!(said(&question, &session), ACTION);
        let split = AccessKey {
            id: "AKID\nEXAMPLE",
            ..session
        };
        assert!(question.sign(&split).is_err());
    }

    const PLAIN: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=2f3b42f35f135abf9c562afcbbc44fc03df96dcfd4332ecebad8b39a7d4b6125";
    const SESSION: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=d7c95314473ef33130825ed0f2d3a7f168587e37762442f0a1da1ddd86b43dcc";
    const ACTION: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kms/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=4b8ec03d8f1c9cec9f5e4fc5942a858b641eb2158e9db4b670c0286f415f133f";
}
