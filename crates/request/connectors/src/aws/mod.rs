//! Access keys of an IAM user: at most two, made by AWS, told apart by their ids.
//!
//! A key is made once there was room for it and that was recorded; if the maker dies before its id is known, the
//! one key nobody knows is ours, was never used, and is deleted before another is made.

mod lease;
mod query;
mod xml;

use bailiwick_base::{Secret, Time};
use bailiwick_credential::{AwsTarget, LastUse, Observed, ProbeAnswer, ThirdParty, plan};
use bailiwick_outbound::AccessKey;

use self::query::{Service, ask};
use self::xml::Element;
use crate::driver::{Ended, Made, Probed, Reachable, TargetError};

/// Answers that say: this key opens nothing.
const REFUSALS: [&str; 3] = [
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
];
const GONE: &str = "NoSuchEntity";
const NOT_UNDERSTOOD: TargetError = TargetError::Unusable("its answer lacks what it should hold");

/// The manager's access to the keys of a user.
pub(crate) struct AwsKeys<'a> {
    credential: &'a ThirdParty,
    target: &'a AwsTarget,
    manager: AccessKey<'a>,
    with: &'a Reachable<'a>,
}

fn is_gone(error: &TargetError) -> bool {
    matches!(error, TargetError::Refused { code, .. } if code == GONE)
}

impl<'a> AwsKeys<'a> {
    pub(crate) fn new(
        credential: &'a ThirdParty,
        target: &'a AwsTarget,
        (handle, secret): (Option<&'a str>, &'a Secret<Vec<u8>>),
        with: &'a Reachable<'a>,
    ) -> Self {
        let manager = AccessKey {
            id: handle.unwrap_or(&target.manager_key),
            secret,
            session: None,
        };
        Self {
            credential,
            target,
            manager,
            with,
        }
    }

    async fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Element, TargetError> {
        let with = (self.with.sender, self.with.now);
        ask(
            with,
            self.target,
            &self.manager,
            (Service::Iam, action),
            parameters,
        )
        .await
    }

    /// Ids of the user's keys.
    async fn keys(&self) -> Result<Vec<String>, TargetError> {
        let answer = self
            .iam("ListAccessKeys", &[("UserName", &self.target.user)])
            .await?;
        let list = answer.find("AccessKeyMetadata").ok_or(NOT_UNDERSTOOD)?;
        let ids = list.members().map(|m| m.text("AccessKeyId").map(str::to_owned));
        ids.collect::<Option<_>>().ok_or(NOT_UNDERSTOOD)
    }

    /// The user has the key in use and no other, so that another one can be made and will be ours.
    pub(crate) async fn prepare(&self) -> Result<(), TargetError> {
        let keys = self.keys().await?;
        let refused = |code: &str, text: String| TargetError::Refused {
            code: code.to_owned(),
            text,
        };
        if !keys.contains(&self.target.key) {
            let text = format!("user {} has no access key {}", self.target.user, self.target.key);
            return Err(refused(GONE, text));
        }
        match keys.iter().find(|key| **key != self.target.key) {
            Some(other) => Err(refused(
                "LimitExceeded",
                format!(
                    "user {} has another access key, {other}, and two are the most: delete it",
                    self.target.user
                ),
            )),
            None => Ok(()),
        }
    }

    /// Makes a key. One that an attempt before this one made, and that nobody knows, goes first.
    pub(crate) async fn stage(&self) -> Result<Made, TargetError> {
        self.delete_unknown().await?;
        let answer = self
            .iam("CreateAccessKey", &[("UserName", &self.target.user)])
            .await?;
        let handle = answer.text("AccessKeyId").ok_or(NOT_UNDERSTOOD)?;
        let secret = answer.text("SecretAccessKey").ok_or(NOT_UNDERSTOOD)?;
        Ok(Made {
            handle: handle.to_owned(),
            secret: Secret::new(secret.as_bytes().to_vec()),
        })
    }

    async fn delete_unknown(&self) -> Result<(), TargetError> {
        for key in self.keys().await?.iter().filter(|key| **key != self.target.key) {
            if self.last_use(key).await?.is_some() {
                return Err(TargetError::Unusable(
                    "the user has an access key that is used and was not made here: find its user, and delete it",
                ));
            }
            self.end(key).await?;
        }
        Ok(())
    }

    async fn end(&self, key: &str) -> Result<(), TargetError> {
        let parameters = [("UserName", self.target.user.as_str()), ("AccessKeyId", key)];
        match self.iam("DeleteAccessKey", &parameters).await {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn last_use(&self, key: &str) -> Result<Option<LastUse>, TargetError> {
        let answer = self.iam("GetAccessKeyLastUsed", &[("AccessKeyId", key)]).await?;
        let used = answer.find("AccessKeyLastUsed").ok_or(NOT_UNDERSTOOD)?;
        let Some(at) = used.text("LastUsedDate").and_then(|text| Time::parse(text).ok()) else {
            return Ok(None);
        };
        let word = |name| used.text(name).unwrap_or("N/A");
        let what = format!("key {key} for {} in {}", word("ServiceName"), word("Region"));
        Ok(Some(LastUse { at, what }))
    }

    /// When the key in use was used last; who used it, AWS does not tell.
    pub(crate) async fn look(&self) -> Result<Observed, TargetError> {
        Ok(Observed {
            used: self.last_use(&self.target.key).await?,
            ..Observed::default()
        })
    }

    async fn switch(&self, status: &str) -> Result<(), TargetError> {
        let parameters = [
            ("UserName", self.target.user.as_str()),
            ("AccessKeyId", &self.target.key),
            ("Status", status),
        ];
        self.iam("UpdateAccessKey", &parameters).await.map(drop)
    }

    /// No use any more, a last look, gone.
    pub(crate) async fn revoke(&self) -> Result<Ended, TargetError> {
        match self.switch("Inactive").await {
            Err(error) if is_gone(&error) => return Ok(Ended::Done),
            other => other?,
        }
        let seen = self.look().await?;
        let in_vain = self.credential.rotation().is_some_and(|r| r.in_vain);
        if !in_vain && plan::would_cut_off(self.credential, &seen, self.with.now) {
            self.switch("Active").await?;
            return Ok(Ended::Reopened(seen));
        }
        self.end(&self.target.key).await?;
        Ok(Ended::Done)
    }

    /// Deletes the new key. As long as its id is not known, it is the one that nobody knows.
    pub(crate) async fn unstage(&self) -> Result<(), TargetError> {
        let Some(rotation) = self.credential.unfinished() else {
            return Ok(());
        };
        match &rotation.handle {
            Some(handle) => self.end(handle).await,
            None if rotation.prepared => self.delete_unknown().await,
            None => Ok(()),
        }
    }

    /// Ends the key in use, and one that a rotation was making.
    pub(crate) async fn end_all(&self, secret: &Secret<Vec<u8>>) -> Result<ProbeAnswer, TargetError> {
        // Who may not delete a key may perhaps switch it off. Whether it is gone, the next two tell.
        let _ = self.switch("Inactive").await;
        let done = [self.end(&self.target.key).await, self.unstage().await];
        let answer = self.whom(&self.target.key, secret).await;
        done.into_iter().collect::<Result<(), _>>()?;
        match answer {
            Ok(_) => Err(TargetError::Unusable("the key is still accepted")),
            Err(TargetError::Refused { code, text }) if REFUSALS.contains(&code.as_str()) => {
                Ok(ProbeAnswer { code, text })
            }
            Err(error) => Err(error),
        }
    }

    /// Who a key speaks for: what every key may ask, whatever it may do.
    async fn whom(&self, id: &str, secret: &Secret<Vec<u8>>) -> Result<Element, TargetError> {
        let key = AccessKey {
            id,
            secret,
            session: None,
        };
        let with = (self.with.sender, self.with.now);
        ask(with, self.target, &key, (Service::Sts, "GetCallerIdentity"), &[]).await
    }

    pub(crate) async fn probe(
        &self,
        old: &Secret<Vec<u8>>,
        new: &Secret<Vec<u8>>,
    ) -> Result<Probed, TargetError> {
        let handle = self.credential.rotation().and_then(|r| r.handle.as_deref());
        let handle = handle.ok_or(TargetError::Unusable("the new key has no id"))?;
        self.whom(handle, new).await?;
        match self.whom(&self.target.key, old).await {
            Ok(_) => Ok(Probed::Accepted),
            Err(TargetError::Refused { code, text }) if REFUSALS.contains(&code.as_str()) => {
                Ok(Probed::Refused(ProbeAnswer { code, text }))
            }
            Err(error) => Err(error),
        }
    }
}
