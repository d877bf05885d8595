//! AWS: a workload signs a request to STS that asks who it is, bound to us by a signed header; we send it on, to the
//! endpoint that an operator registered, and believe the answer of STS and nothing else.
//!
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Digest, Secret, Sha256, TenantId, Time, json};
use bailiwick_credential::trust::Attestor;
use bailiwick_outbound::{Endpoint, FetchError, LaneConfig, Lanes, Message, Sender};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value};

use crate::claims::{self, wrong};
use crate::error::AttestError;
use crate::issuer::IssuerProfile;
use crate::verify::Attested;

/// The one request that is sent on.
const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
/// The header that binds a request to us; it has to be signed.
const AUDIENCE: &str = "x-bailiwick-audience";
/// Headers that are sent on, when they are signed; every other one refuses the request.
const TAKEN: [&str; 7] = [
    "authorization",
    "content-type",
    "host",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    AUDIENCE,
];
/// Headers that have to be signed whenever they are there.
const SIGNED: [&str; 4] = ["host", "x-amz-date", "x-amz-security-token", AUDIENCE];
/// How old a request may be, and how far ahead of our clock.
const AGE_MAX: Duration = Duration::from_secs(300);
/// Bytes of the evidence as it is shown.
const EVIDENCE_MAX: usize = 16 * 1024;

/// A signed request that nobody has sent on yet.
#[derive(Debug)]
pub struct SignedRequest {
    host: String,
    headers: BTreeMap<String, String>,
    /// Of the signature, which is used once.
    signature: Digest,
    made_at: Time,
}

impl SignedRequest {
    /// Takes base64url of `{"url", "headers", "body"}`: a request to STS for `audience`, made lately. Nothing is
    /// sent before all of this holds.
    ///
    /// # Errors
    /// [`AttestError`].
    pub fn parse(text: &str, audience: &str, now: Time) -> Result<Self, AttestError> {
        if text.len() > EVIDENCE_MAX {
            return Err(wrong("assertion", "it has to be at most 16 KiB"));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| wrong("assertion", "it has to be base64url without padding"))?;
        let value = json::parse(&bytes, EVIDENCE_MAX).map_err(|_| {
            wrong(
                "assertion",
                "it has to be a JSON object with `url`, `headers` and `body`",
            )
        })?;
        let member = |name: &'static str| value.get(name).ok_or_else(|| wrong(name, "it is missing"));
        if member("body")?.as_str() != Some(BODY) {
            return Err(wrong(
                "body",
                "it has to be `Action=GetCallerIdentity&Version=2011-06-15`",
            ));
        }
        let url = member("url")?.as_str().unwrap_or_default();
        let host = url
            .strip_prefix("https://")
            .map(|rest| rest.strip_suffix('/').unwrap_or(rest))
            .filter(|host| {
                host.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
            })
            .ok_or_else(|| wrong("url", "it has to be `https://HOST/`, without a path or a query"))?;
        let headers = read_headers(member("headers")?)?;
        let of = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
        if of("host") != host {
            return Err(wrong("host", "it has to be the host of `url`"));
        }
        if of(AUDIENCE) != audience {
            return Err(AttestError::Audience(audience.to_owned()));
        }
        let made_at = amz_date(of("x-amz-date"))?;
        if made_at > now.after(AGE_MAX) {
            return Err(AttestError::NotYetValid);
        }
        if now >= made_at.after(AGE_MAX) {
            return Err(AttestError::Expired);
        }
        let signature = require_signed(of("authorization"), &headers, of("x-amz-date"), host)?;
        Ok(Self {
            host: host.to_owned(),
            headers,
            signature,
            made_at,
        })
    }

    /// Whether it is meant for the endpoint that was registered: that host, or a regional one of AWS where the
    /// global one is.
    #[must_use]
    pub fn may_go_to(&self, issuer: &str) -> bool {
        let registered = issuer
            .strip_prefix("https://")
            .unwrap_or_default()
            .trim_end_matches('/');
        self.host == registered || registered == "sts.amazonaws.com" && is_regional(&self.host)
    }
}

/// `sts.REGION.amazonaws.com`.
fn is_regional(host: &str) -> bool {
    host.strip_prefix("sts.")
        .and_then(|rest| rest.strip_suffix(".amazonaws.com"))
        .is_some_and(is_region)
}

fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    (3..=4).contains(&parts.len())
        && parts
            .last()
            .is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
        && parts
            .iter()
            .all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

fn read_headers(value: &Value) -> Result<BTreeMap<String, String>, AttestError> {
    let members = value
        .as_object()
        .ok_or_else(|| wrong("headers", "it has to be an object"))?;
    let mut headers = BTreeMap::new();
    for (name, value) in members {
        let name = name.to_ascii_lowercase();
        let text = value
            .as_str()
            .filter(|text| text.len() <= 8_192 && text.bytes().all(|b| (b' '..=b'~').contains(&b)));
        let text = text.ok_or_else(|| wrong("headers", "each has to be text of visible ASCII"))?;
        if !TAKEN.contains(&name.as_str()) {
            return Err(wrong(
                "headers",
                "there is one beyond those that are sent on: sign and send no others",
            ));
        }
        if headers.insert(name, text.to_owned()).is_some() {
            return Err(wrong("headers", "one is there twice"));
        }
    }
    Ok(headers)
}

/// `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/sts/aws4_request, SignedHeaders=…, Signature=…`; gives the hash of the
/// signature.
fn require_signed(
    authorization: &str,
    headers: &BTreeMap<String, String>,
    date: &str,
    host: &str,
) -> Result<Digest, AttestError> {
    let malformed = || wrong("authorization", "it has to be a signature of version 4 for STS");
    let rest = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or_else(malformed)?;
    let mut parts = BTreeMap::new();
    for part in rest.split(',') {
        let (name, value) = part.trim().split_once('=').ok_or_else(malformed)?;
        if parts.insert(name, value).is_some() {
            return Err(malformed());
        }
    }
    let of = |name: &str| parts.get(name).copied().ok_or_else(malformed);
    let scope: Vec<&str> = of("Credential")?.split('/').collect();
    let [_, day, region, "sts", "aws4_request"] = scope.as_slice() else {
        return Err(malformed());
    };
    let is_of_host = match host
        .strip_prefix("sts.")
        .and_then(|h| h.strip_suffix(".amazonaws.com"))
    {
        Some(of_host) => of_host == *region,
        None => is_region(region),
    };
    if !date.starts_with(day) || !is_of_host {
        return Err(wrong(
            "authorization",
            "its day and region have to be those of the request",
        ));
    }
    let signed: Vec<&str> = of("SignedHeaders")?.split(';').collect();
    let covers = |name: &str| !headers.contains_key(name) || signed.contains(&name);
    if !SIGNED.iter().all(|name| covers(name)) {
        return Err(wrong(
            "authorization",
            "it has to sign host, x-amz-date, x-amz-security-token and x-bailiwick-audience",
        ));
    }
    let signature = of("Signature")?;
    if signature.len() != 64
        || !signature
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    {
        return Err(malformed());
    }
    let mut hash = Sha256::new();
    hash.update_field(signature.as_bytes());
    Ok(hash.finish())
}

/// `20261122T064500Z`
fn amz_date(text: &str) -> Result<Time, AttestError> {
    let malformed = || wrong("x-amz-date", "it has to be of the form 20261122T064500Z");
    let is_form = text.len() == 16
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 => b == b'T',
            15 => b == b'Z',
            _ => b.is_ascii_digit(),
        });
    if !is_form {
        return Err(malformed());
    }
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let rfc3339 = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15)
    );
    Time::parse(&rfc3339).map_err(|_| malformed())
}

/// Sends signed requests on. One per process.
#[derive(Clone)]
pub struct StsAttester {
    sender: Sender,
    attestor: Arc<Attestor>,
    lanes: Lanes,
}

impl StsAttester {
    /// An attester that reaches STS through `sender`; `attestor` is what is known of AWS.
    #[must_use]
    pub fn new(sender: Sender, attestor: Arc<Attestor>, lanes: LaneConfig) -> Self {
        Self {
            sender,
            attestor,
            lanes: Lanes::new(lanes),
        }
    }

    /// Asks STS, at the endpoint of `issuer`, who signed `request`. Whoever shows one is nobody yet, and each is asked
    /// about: so many at once for a tenant and no more.
    ///
    /// # Errors
    /// [`AttestError`]; [`AttestError::Keys`] when STS does not answer, or too many are being asked about.
    pub async fn verify(
        &self,
        request: &SignedRequest,
        issuer: &IssuerProfile,
    ) -> Result<Attested, AttestError> {
        if !request.may_go_to(&issuer.issuer) {
            return Err(AttestError::Issuer);
        }
        // A regional endpoint of AWS is where the request says it is; any other is the one that was registered.
        let url = if request.host.ends_with(".amazonaws.com") {
            format!("https://{}/", request.host)
        } else {
            format!("{}/", issuer.issuer.trim_end_matches('/'))
        };
        let unreachable = |error| {
            AttestError::Keys(crate::KeysError::Fetch {
                what: "answer of STS",
                error,
            })
        };
        let endpoint = Endpoint::parse(&url, false).map_err(|error| unreachable(error.into()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers.iter().filter(|(name, _)| *name != "host") {
            let pair = HeaderName::try_from(name.as_str())
                .ok()
                .zip(HeaderValue::try_from(value.as_str()).ok());
            let (name, value) = pair.ok_or_else(|| wrong("headers", "one cannot be sent"))?;
            headers.insert(name, value);
        }
        let message = Message {
            method: Method::POST,
            headers,
            body: Secret::new(BODY.as_bytes().to_vec()),
        };
        let lane = self.lanes.take(&issuer.tenant).await;
        let _lane = lane.ok_or_else(|| unreachable(FetchError::Busy))?;
        let answer = self
            .sender
            .send(&endpoint, &issuer.addresses, message)
            .await
            .map_err(unreachable)?;
        let text = String::from_utf8(answer.body.reveal().clone()).unwrap_or_default();
        match answer.status {
            StatusCode::OK => {}
            status if status.is_client_error() => return Err(AttestError::NotVouched),
            status => {
                return Err(unreachable(FetchError::Status(status.as_u16())));
            }
        }
        let attributes = claims::attributes(&caller(&text)?, &self.attestor)?;
        Ok(Attested {
            issuer: issuer.clone(),
            attributes,
            token_hash: request.signature,
            once: Some(used(&issuer.tenant, &request.signature)),
            issued_at: Some(request.made_at),
            expires_at: request.made_at.after(AGE_MAX),
        })
    }
}

fn used(tenant: &TenantId, signature: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update_field(tenant.as_str().as_bytes());
    hash.update_field(&signature.0);
    hash.finish()
}

/// The caller that STS names, as claims. Its answer has these three elements, each once, without markup inside.
fn caller(text: &str) -> Result<Map<String, Value>, AttestError> {
    let malformed = || {
        wrong(
            "answer of STS",
            "it has to name `Arn`, `UserId` and `Account`, each once",
        )
    };
    let element = |name: &str| {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let (_, rest) = text.split_once(&open)?;
        let (value, after) = rest.split_once(&close)?;
        let is_plain = (1..=2_048).contains(&value.len()) && !value.contains(['<', '>', '&']);
        (is_plain && !after.contains(&open)).then(|| value.to_owned())
    };
    if text.matches("<GetCallerIdentityResult>").count() != 1 {
        return Err(malformed());
    }
    let (arn, user, account) = element("Arn")
        .zip(element("UserId"))
        .zip(element("Account"))
        .map(|((arn, user), account)| (arn, user, account))
        .ok_or_else(malformed)?;
    // `AROA…:session` of a role, `AIDA…` of a user. The number of the account alone is its root user.
    let (unique, session) = match user.split_once(':') {
        Some((unique, session)) => (unique.to_owned(), Some(session.to_owned())),
        None => (user, None),
    };
    if unique == account || !unique.starts_with('A') {
        return Err(wrong(
            "UserId",
            "only roles and users of IAM are taken, not a root user",
        ));
    }
    if arn.split(':').nth(4) != Some(account.as_str()) {
        return Err(wrong("Arn", "it has to be of the account that is named"));
    }
    let mut claims = Map::new();
    claims.insert("account".to_owned(), account.into());
    claims.insert("arn".to_owned(), arn.into());
    claims.insert("unique_id".to_owned(), unique.into());
    claims.extend(session.map(|session| ("session".to_owned(), Value::from(session))));
    Ok(claims)
}
