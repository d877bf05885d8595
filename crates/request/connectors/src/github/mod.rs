//! Private keys of a GitHub App. A person makes and deletes them in the app's settings; here both are tried, with a
//! token of the app that each key signs (RS256), against `GET /app`.

use std::time::Duration;

use bailiwick_base::{Secret, Time, json};
use bailiwick_credential::{GithubAppTarget, Observed, ProbeAnswer, ThirdParty};
use bailiwick_outbound::{AddressRule, Endpoint, Message};
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use crate::driver::{Ended, Probed, Reachable, TargetError};
use crate::words::Cover;

const GITHUB: &str = "https://api.github.com";
const VERSION: HeaderName = HeaderName::from_static("x-github-api-version");
/// A token of an app lives no longer than ten minutes; ours a moment, begun a minute ago for clocks that differ.
const LIFETIME: Duration = Duration::from_secs(120);
const SKEW: Duration = Duration::from_secs(60);
const ANSWER_MAX: usize = 256 * 1024;

/// The keys of an app.
pub(crate) struct AppKeys<'a> {
    credential: &'a ThirdParty,
    target: &'a GithubAppTarget,
    with: &'a Reachable<'a>,
}

impl<'a> AppKeys<'a> {
    pub(crate) const fn new(
        credential: &'a ThirdParty,
        target: &'a GithubAppTarget,
        with: &'a Reachable<'a>,
    ) -> Self {
        Self {
            credential,
            target,
            with,
        }
    }

    fn token(&self, key: &Secret<Vec<u8>>) -> Result<String, TargetError> {
        let unusable = TargetError::Unusable("the private key is not an RSA key in PEM, as GitHub gives it");
        let key = EncodingKey::from_rsa_pem(key.reveal()).map_err(|_| unusable.clone())?;
        let claims = serde_json::json!({
            "iss": self.target.app,
            "iat": self.with.now.before(SKEW).secs(),
            "exp": self.with.now.after(LIFETIME).secs(),
        });
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).map_err(|_| unusable)
    }

    /// Asks as the app; how that was refused, if it was.
    async fn opens(&self, key: &Secret<Vec<u8>>) -> Result<Option<ProbeAnswer>, TargetError> {
        let over = self.target.danger_endpoint_override.as_ref();
        let base = over.map_or(GITHUB, |o| o.url.trim_end_matches('/'));
        let endpoint = Endpoint::parse(&format!("{base}/app"), over.is_some_and(|o| o.allow_plaintext))?;
        let rule = AddressRule::parse(over.map(|o| o.addresses.as_slice()).unwrap_or_default())?;
        let token = self.token(key)?;
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| TargetError::Unusable("the app's token cannot be sent"))?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert(VERSION, HeaderValue::from_static("2022-11-28"));
        let message = Message {
            method: Method::GET,
            headers,
            body: Secret::new(Vec::new()),
        };
        let answer = self.with.sender.send(&endpoint, &rule, message).await?;
        match answer.status {
            StatusCode::OK => Ok(None),
            StatusCode::UNAUTHORIZED => {
                let told = json::parse(answer.body.reveal(), ANSWER_MAX).ok();
                let text = told.as_ref().and_then(|v| v.get("message")?.as_str());
                let text = text.unwrap_or_default();
                self.require_same_time(answer.date, text)?;
                // The token lives on for a moment: it is as secret as the key.
                let token = Secret::new(token.into_bytes());
                Ok(Some(ProbeAnswer {
                    code: "HTTP 401".to_owned(),
                    text: Cover::over([Some(&token)]).text(text),
                }))
            }
            status => Err(TargetError::Unreachable(format!(
                "it answered with HTTP {status}"
            ))),
        }
    }

    /// A token whose times the other clock does not accept is refused whatever its key may: that proves nothing.
    fn require_same_time(&self, date: Option<Time>, text: &str) -> Result<(), TargetError> {
        let date = date.ok_or(TargetError::Unusable(
            "it refused, and its answer has no `Date` to compare clocks with: that proves nothing",
        ))?;
        let apart = date.since(self.with.now).max(self.with.now.since(date));
        if apart > SKEW {
            let apart = apart.as_secs();
            return Err(TargetError::Unreachable(format!(
                "its clock and ours are {apart} s apart, so its refusal proves nothing: set the clock of this machine"
            )));
        }
        if ["'iat'", "'exp'"].iter().any(|claim| text.contains(claim)) {
            return Err(TargetError::Unreachable(format!(
                "it refused the token's times, not its key: {text}"
            )));
        }
        Ok(())
    }

    pub(crate) fn prepare() -> Result<(), TargetError> {
        Err(TargetError::Unusable(
            "GitHub has no call that makes a key: make one in the app's settings, and hand it in with `bailiwick credential replace`",
        ))
    }

    /// The key that was handed in opens.
    pub(crate) async fn stage(&self, given: &Secret<Vec<u8>>) -> Result<(), TargetError> {
        match self.opens(given).await {
            Ok(None) => Ok(()),
            Ok(Some(ProbeAnswer { code, text })) => Err(TargetError::Refused { code, text }),
            Err(TargetError::Unusable(what)) => Err(TargetError::Refused {
                code: "not-a-key".to_owned(),
                text: what.to_owned(),
            }),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn look() -> Observed {
        Observed::default()
    }

    /// A person has deleted the old key.
    pub(crate) async fn revoke(&self, old: &Secret<Vec<u8>>) -> Result<Ended, TargetError> {
        match self.opens(old).await? {
            Some(_) => Ok(Ended::Done),
            None => Err(TargetError::Unusable(
                "everybody moved and the old key still opens: delete it in the app's settings",
            )),
        }
    }

    /// A person has deleted the new key, if one was handed in.
    pub(crate) async fn unstage(&self, new: Option<&Secret<Vec<u8>>>) -> Result<(), TargetError> {
        let Some(new) = new.filter(|_| {
            self.credential
                .unfinished()
                .is_some_and(|r| r.fingerprint.is_some())
        }) else {
            return Ok(());
        };
        match self.opens(new).await {
            Ok(Some(_)) | Err(TargetError::Unusable(_)) => Ok(()),
            Ok(None) => Err(TargetError::Unusable(
                "the new key still opens: delete it in the app's settings",
            )),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn probe(
        &self,
        old: &Secret<Vec<u8>>,
        new: &Secret<Vec<u8>>,
    ) -> Result<Probed, TargetError> {
        if self.opens(new).await?.is_some() {
            return Err(TargetError::Unusable("the new key does not open any more"));
        }
        Ok(match self.opens(old).await? {
            Some(refused) => Probed::Refused(refused),
            None => Probed::Accepted,
        })
    }

    pub(crate) async fn end_all(
        &self,
        secret: &Secret<Vec<u8>>,
        new: Option<&Secret<Vec<u8>>>,
    ) -> Result<ProbeAnswer, TargetError> {
        let refused = self.opens(secret).await;
        self.unstage(new).await?;
        refused?.ok_or(TargetError::Unusable(
            "the key still opens: delete it in the app's settings",
        ))
    }
}
