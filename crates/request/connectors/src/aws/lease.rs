//! Sessions of a role for a single task. AWS cannot end a session; a policy of the role refuses the one with this
//! name, and stays until the session has ended by itself.

use std::time::Duration;

use bailiwick_base::{Secret, Time};
use bailiwick_credential::{Lease, ProbeAnswer};
use bailiwick_outbound::AccessKey;
use serde_json::{Value, json};

use super::query::{Service, ask};
use super::{AwsKeys, NOT_UNDERSTOOD, is_gone};
use crate::driver::{Back, Lent, TargetError};

/// The shortest session there is; seconds.
const SESSION_MIN: u64 = 900;
/// The longest.
const SESSION_MAX: Duration = Duration::from_secs(43_200);

fn text(v: &Value, name: &str) -> Option<String> {
    v.get(name)?.as_str().map(str::to_owned)
}

impl AwsKeys<'_> {
    fn role(&self) -> Result<(&str, &str), TargetError> {
        let arn = self.target.lease_role.as_deref();
        let arn = arn.ok_or(TargetError::Unusable("it has no role to lease"))?;
        Ok((arn, arn.rsplit('/').next().unwrap_or(arn)))
    }

    /// Takes the role. The task gets what `credential_process` of the vendor's tools gives.
    pub(crate) async fn lend(&self, lease: &Lease) -> Result<Lent, TargetError> {
        let span = lease
            .expires_at
            .since(self.with.now)
            .as_secs()
            .max(SESSION_MIN)
            .to_string();
        let parameters = [
            ("RoleArn", self.role()?.0),
            ("RoleSessionName", &lease.handle),
            ("DurationSeconds", &span),
        ];
        let with = (self.with.sender, self.with.now);
        let answer = ask(
            with,
            self.target,
            &self.manager,
            (Service::Sts, "AssumeRole"),
            &parameters,
        )
        .await?;
        let found = answer.find("Credentials").ok_or(NOT_UNDERSTOOD)?;
        let part = |name| found.text(name).ok_or(NOT_UNDERSTOOD);
        let expiration = part("Expiration")?;
        let document = json!({
            "Version": 1,
            "AccessKeyId": part("AccessKeyId")?,
            "SecretAccessKey": part("SecretAccessKey")?,
            "SessionToken": part("SessionToken")?,
            "Expiration": expiration,
        });
        Ok(Lent {
            secret: Secret::new(document.to_string().into_bytes()),
            ends_at: Some(Time::parse(expiration).map_err(|_| NOT_UNDERSTOOD)?),
        })
    }

    /// Denies everything to the session of this name, also if nobody knows whether there is one.
    pub(crate) async fn take_back(
        &self,
        lease: &Lease,
        secret: Option<&Secret<Vec<u8>>>,
    ) -> Result<Back, TargetError> {
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Deny",
                "Action": "*",
                "Resource": "*",
                "Condition": { "StringLike": { "aws:userid": format!("*:{}", lease.handle) } },
            }],
        });
        let policy = policy.to_string();
        let parameters = [
            ("RoleName", self.role()?.1),
            ("PolicyName", lease.handle.as_str()),
            ("PolicyDocument", &policy),
        ];
        self.iam("PutRolePolicy", &parameters).await?;
        let until = lease
            .system_ends_at
            .unwrap_or(lease.created_at.after(SESSION_MAX));
        let answer = match secret {
            Some(secret) => self.denied(secret).await?,
            None => ProbeAnswer {
                code: "not-given".to_owned(),
                text: "whoever made it died before anybody got it; sessions of its name are denied"
                    .to_owned(),
            },
        };
        Ok(Back::Barred(answer, until))
    }

    /// Asks with the session for something that its role may or may not do: denied either way once the policy holds.
    async fn denied(&self, secret: &Secret<Vec<u8>>) -> Result<ProbeAnswer, TargetError> {
        let lost = TargetError::Unusable("its sealed session is not of the form it was kept in");
        let document: Value = serde_json::from_slice(secret.reveal()).map_err(|_| lost.clone())?;
        let part = |name| text(&document, name).ok_or(lost.clone());
        let (id, session) = (part("AccessKeyId")?, part("SessionToken")?);
        let key = AccessKey {
            id: &id,
            secret: &Secret::new(part("SecretAccessKey")?.into_bytes()),
            session: Some(&session),
        };
        let role = [("RoleName", self.role()?.1)];
        let with = (self.with.sender, self.with.now);
        match ask(with, self.target, &key, (Service::Iam, "GetRole"), &role).await {
            Ok(_) => Err(TargetError::Unusable("the session is not denied yet")),
            Err(TargetError::Refused { code, text }) => Ok(ProbeAnswer { code, text }),
            Err(error) => Err(error),
        }
    }

    /// Takes the policy away again.
    pub(crate) async fn clear(&self, lease: &Lease) -> Result<(), TargetError> {
        let parameters = [
            ("RoleName", self.role()?.1),
            ("PolicyName", lease.handle.as_str()),
        ];
        match self.iam("DeleteRolePolicy", &parameters).await {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }
}
