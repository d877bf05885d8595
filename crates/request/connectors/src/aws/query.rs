//! One action of the query protocol: a signed form there, XML back.

use bailiwick_base::{Secret, Time};
use bailiwick_credential::AwsTarget;
use bailiwick_outbound::{
    AccessKey, AddressRule, AwsPost, Endpoint, FetchError, GuardError, Message, Sender,
};
use http::{Method, StatusCode};

use super::xml::Element;
use crate::driver::TargetError;

/// Media type of the body; it is signed.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// A service with its version and where it is.
#[derive(Clone, Copy)]
pub(super) enum Service {
    /// Identities and their keys; one for the world.
    Iam,
    /// Security tokens, in each region.
    Sts,
}

impl Service {
    const fn word(self) -> (&'static str, &'static str) {
        match self {
            Self::Iam => ("iam", "2010-05-08"),
            Self::Sts => ("sts", "2011-06-15"),
        }
    }

    fn url(self, target: &AwsTarget) -> String {
        match (&target.danger_endpoint_override, self) {
            (Some(over), _) => over.url.clone(),
            (None, Self::Iam) => "https://iam.amazonaws.com/".to_owned(),
            (None, Self::Sts) => format!("https://sts.{}.amazonaws.com/", target.region),
        }
    }

    fn region(self, target: &AwsTarget) -> &str {
        match self {
            Self::Iam => "us-east-1",
            Self::Sts => &target.region,
        }
    }
}

impl From<FetchError> for TargetError {
    fn from(error: FetchError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<GuardError> for TargetError {
    fn from(error: GuardError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// Asks for one action and gives the root of the answer.
pub(super) async fn ask(
    (sender, at): (&Sender, Time),
    target: &AwsTarget,
    key: &AccessKey<'_>,
    (service, action): (Service, &str),
    parameters: &[(&str, &str)],
) -> Result<Element, TargetError> {
    let over = target.danger_endpoint_override.as_ref();
    let endpoint = Endpoint::parse(&service.url(target), over.is_some_and(|o| o.allow_plaintext))?;
    let rule = AddressRule::parse(over.map(|o| o.addresses.as_slice()).unwrap_or_default())?;
    let (word, version) = service.word();
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", action)
        .append_pair("Version", version)
        .extend_pairs(parameters)
        .finish()
        // Only unreserved characters stay (RFC 3986 §2.3), as a server that encodes the fields anew has them.
        .replace('*', "%2A")
        .replace("%7E", "~")
        .into_bytes();
    let post = AwsPost {
        authority: &endpoint.authority,
        path: &endpoint.path,
        content: FORM,
        target: None,
        service: word,
        region: service.region(target),
        body: &body,
        at,
    };
    let headers = post
        .sign(key)
        .map_err(|_| TargetError::Unusable("the access key id cannot be sent"))?;
    let message = Message {
        method: Method::POST,
        headers,
        body: Secret::new(body),
    };
    let answer = sender.send(&endpoint, &rule, message).await?;
    judged(answer.status, answer.body.reveal())
}

/// An answer, a refusal, or something that may pass.
fn judged(status: StatusCode, body: &[u8]) -> Result<Element, TargetError> {
    let read = Element::parse(body);
    if status == StatusCode::OK {
        return read
            .ok_or_else(|| TargetError::Unreachable("its answer is not the XML it should be".to_owned()));
    }
    let code = read
        .as_ref()
        .and_then(|e| e.text("Code"))
        .unwrap_or_default()
        .to_owned();
    let passing = status.is_server_error() || code.starts_with("Throttl") || code == "RequestExpired";
    if !status.is_client_error() || passing || code.is_empty() {
        return Err(TargetError::Unreachable(format!(
            "it answered with HTTP {status} {code}"
        )));
    }
    let text = read.as_ref().and_then(|e| e.text("Message"));
    Err(TargetError::Refused {
        code,
        // Whole: what it repeats of a secret is covered before it is cut.
        text: text.unwrap_or_default().to_owned(),
    })
}
