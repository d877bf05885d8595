//! Operators before people exist: an Ed25519 key that was claimed on the data folder's socket.

use bailiwick_base::{OperatorId, Time, Transition};

use crate::refusal::Refusal;
use crate::transition::required;

/// A human who may command the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Id; its tenant part is the [`installation`](crate::installation()).
    pub id: OperatorId,
    /// Name for people.
    pub name: String,
    /// Ed25519 public key (RFC 8032), 32 bytes.
    pub public_key: [u8; 32],
    /// When the key was claimed.
    pub created_at: Time,
}

/// Registers the key of an operator. Whether somebody may claim is decided at the socket.
///
/// # Errors
/// [`Refusal::NameMissing`], [`Refusal::TooLong`], [`Refusal::ControlCharacter`].
pub fn claim(
    id: OperatorId,
    name: &str,
    public_key: [u8; 32],
    now: Time,
) -> Result<Transition<Operator>, Refusal> {
    registered("operator.claim", id, name, public_key, now)
}

/// Registers the key of another operator, on the word of one.
///
/// # Errors
/// As [`claim`].
pub fn add_operator(
    id: OperatorId,
    name: &str,
    public_key: [u8; 32],
    now: Time,
) -> Result<Transition<Operator>, Refusal> {
    registered("operator.add", id, name, public_key, now)
}

fn registered(
    command: &'static str,
    id: OperatorId,
    name: &str,
    public_key: [u8; 32],
    now: Time,
) -> Result<Transition<Operator>, Refusal> {
    let name = required(
        name.to_owned(),
        "operator name",
        Refusal::NameMissing("operator name"),
    )?;
    Ok(Transition::made(
        command,
        Operator {
            id,
            name,
            public_key,
            created_at: now,
        },
    ))
}
