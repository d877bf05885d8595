//! Sessions of a role for a single task. AWS cannot end a session; a policy of the role refuses the one with this
//! name, and stays until the session has ended by itself. The policies of a role have little room, so a session is
//! only made once the place for its refusal is taken: a policy of the same length that refuses nothing.

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
/// Both calls that make one together; whoever makes it is taken for dead after 30 s.
const MAKING: Duration = Duration::from_secs(20);
/// For clocks that differ, and the time it takes to make one.
const SLACK: Duration = Duration::from_secs(120);
/// The role has no room for another policy.
const FULL: &str = "LimitExceeded";

/// What the policy of a lease does. The first takes the room that the second needs.
#[derive(Clone, Copy)]
enum Rule {
    /// Nothing: it refuses no action.
    Reserved,
    /// Refuses everything.
    Barred,
}

fn policy(session: &str, rule: Rule) -> String {
    let actions = match rule {
        Rule::Reserved => "NotAction",
        Rule::Barred => "Action",
    };
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Deny",
            actions: "*",
            "Resource": "*",
            "Condition": { "StringLike": { "aws:userid": format!("*:{session}") } },
        },
    });
    policy.to_string()
}

const NO_ROOM: TargetError = TargetError::Unusable(
    "its role has no room to refuse another session, and one that cannot be refused is not made: wait until others \
     have ended, lease for a shorter time, or take another role",
);

fn text(v: &Value, name: &str) -> Option<String> {
    v.get(name)?.as_str().map(str::to_owned)
}

impl AwsKeys<'_> {
    fn role(&self) -> Result<(&str, &str), TargetError> {
        let arn = self.target.lease_role.as_deref();
        let arn = arn.ok_or(TargetError::Unusable("it has no role to lease"))?;
        Ok((arn, arn.rsplit('/').next().unwrap_or(arn)))
    }

    async fn put(&self, lease: &Lease, rule: Rule) -> Result<(), TargetError> {
        let policy = policy(&lease.handle, rule);
        let parameters = [
            ("RoleName", self.role()?.1),
            ("PolicyName", lease.handle.as_str()),
            ("PolicyDocument", &policy),
        ];
        self.iam("PutRolePolicy", &parameters).await.map(drop)
    }

    /// Takes the role, once there is room to refuse it. The task gets what `credential_process` of the vendor's
    /// tools gives.
    pub(crate) async fn lend(&self, lease: &Lease) -> Result<Lent, TargetError> {
        let making = async {
            match self.put(lease, Rule::Reserved).await {
                Err(TargetError::Refused { code, .. }) if code == FULL => return Err(NO_ROOM),
                other => other?,
            }
            self.assume(lease).await
        };
        let late = TargetError::Unreachable(format!("no answer in {} s", MAKING.as_secs()));
        let made = tokio::time::timeout(MAKING, making).await;
        made.unwrap_or(Err(late))
    }

    async fn assume(&self, lease: &Lease) -> Result<Lent, TargetError> {
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
        match self.put(lease, Rule::Barred).await {
            // Its room would have been there: it was refused, and nothing was made.
            Err(TargetError::Refused { code, .. }) if code == FULL && lease.fingerprint.is_none() => {
                return Ok(Back::Gone(None));
            }
            other => other?,
        }
        let latest = lease
            .created_at
            .after(Duration::from_secs(SESSION_MIN))
            .max(lease.expires_at)
            .after(SLACK);
        let until = lease.system_ends_at.unwrap_or(latest);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_is_reserved_is_enough_for_the_refusal() {
        let session = format!("bailiwick_{}", "0".repeat(32));
        let [reserved, barred] = [Rule::Reserved, Rule::Barred].map(|rule| policy(&session, rule));
        assert!(reserved.len() >= barred.len(), "{reserved} {barred}");
        // All inline policies of a role together have 10,240 characters.
        assert!(10_240 / reserved.len() >= 55, "{reserved}");
    }
}
