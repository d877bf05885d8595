//! AWS Signature Version 4, for a POST of a form: the one shape that the query protocol of IAM and STS has.
//!
//! Own code over the one cryptography library, because the vendor's crate signs with another one and keeps the
//! secret in types that can be printed (ADR 0034).

use aws_lc_rs::digest;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use bailiwick_base::{Secret, Time};

/// Media type of the body; it is signed.
pub(super) const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// A pair of id and secret key, with the token of its session if it is one.
pub(super) struct Key<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a Secret<Vec<u8>>,
    pub(super) session: Option<&'a str>,
}

/// What is signed.
pub(super) struct Form<'a> {
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) body: &'a [u8],
    pub(super) at: Time,
}

/// Headers to send with the form.
pub(super) struct Signed {
    pub(super) date: String,
    pub(super) authorization: String,
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

/// Signs a form.
pub(super) fn sign(form: &Form<'_>, key: &Key<'_>) -> Signed {
    let date = basic_date(form.at);
    let day = date.split('T').next().unwrap_or_default();
    let (session, names) = match key.session {
        Some(token) => (
            format!("x-amz-security-token:{token}\n"),
            "content-type;host;x-amz-date;x-amz-security-token",
        ),
        None => (String::new(), "content-type;host;x-amz-date"),
    };
    let body = hex(digest::digest(&digest::SHA256, form.body).as_ref());
    let canonical = format!(
        "POST\n{}\n\ncontent-type:{FORM}\nhost:{}\nx-amz-date:{date}\n{session}\n{names}\n{body}",
        form.path, form.authority
    );
    let scope = format!("{day}/{}/{}/aws4_request", form.region, form.service);
    let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
    let mut first = zeroize::Zeroizing::new(b"AWS4".to_vec());
    first.extend_from_slice(key.secret.reveal());
    let derived = [form.region, form.service, "aws4_request"]
        .into_iter()
        .fold(keyed(&first, day), |tag, part| keyed(tag.as_ref(), part));
    let signature = hex(keyed(derived.as_ref(), &text).as_ref());
    Signed {
        authorization: format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            key.id
        ),
        date,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the vendor's own test suite (`post-x-www-form-urlencoded`), but for the character set in
    /// its media type, worked out with the vendor's Python library.
    #[test]
    fn a_form_is_signed_as_the_vendors_library_signs_it() {
        let secret = Secret::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec());
        let form = Form {
            authority: "example.amazonaws.com",
            path: "/",
            service: "service",
            region: "us-east-1",
            body: b"Param1=value1",
            at: Time::parse("2015-08-30T12:36:00.75Z").unwrap(),
        };
        let plain = Key {
            id: "AKIDEXAMPLE",
            secret: &secret,
            session: None,
        };
        let signed = sign(&form, &plain);
        assert_eq!(signed.date, "20150830T123600Z");
        assert_eq!(signed.authorization, PLAIN);
        let session = Key {
            session: Some("session+token/="),
            ..plain
        };
        assert_eq!(sign(&form, &session).authorization, SESSION);
    }

    const PLAIN: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=2f3b42f35f135abf9c562afcbbc44fc03df96dcfd4332ecebad8b39a7d4b6125";
    const SESSION: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=d7c95314473ef33130825ed0f2d3a7f168587e37762442f0a1da1ddd86b43dcc";
}
