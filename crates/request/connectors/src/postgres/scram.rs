//! The verifier of a password, RFC 5802 with SHA-256 (RFC 7677), as the server stores it.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use bailiwick_base::{Entropy, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::TargetError;

/// As the server itself does; our passwords are 256 random bits, so that more rounds protect nothing more.
const ROUNDS: NonZeroU32 = match NonZeroU32::new(4_096) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};

/// `SCRAM-SHA-256$rounds:salt$stored-key:server-key`, of the password as the server normalises it (RFC 4013); one
/// that cannot be normalised it takes as it is.
pub(super) fn verifier(password: &Secret<Vec<u8>>, entropy: &dyn Entropy) -> Result<String, TargetError> {
    let text = std::str::from_utf8(password.reveal())
        .map_err(|_| TargetError::Unusable("the password is not UTF-8 text"))?;
    let normal = stringprep::saslprep(text).map_or_else(
        |_| Zeroizing::new(text.to_owned()),
        |normal| Zeroizing::new(normal.into_owned()),
    );
    let mut salt = [0_u8; 16];
    entropy
        .fill(&mut salt)
        .map_err(|_| TargetError::Unusable("the source of randomness failed"))?;
    Ok(of(normal.as_bytes(), &salt))
}

fn of(password: &[u8], salt: &[u8]) -> String {
    let mut salted = [0_u8; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, password, &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client = hmac::sign(&key, b"Client Key");
    let stored = digest::digest(&digest::SHA256, client.as_ref());
    let server = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${ROUNDS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    )
}

#[cfg(test)]
mod tests {
    use super::of;

    /// The example of RFC 7677 §3 fixes salt and password; its proof checks out against these two keys.
    #[test]
    fn the_verifier_is_that_of_the_rfc() {
        let salt = [
            0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81,
        ];
        assert_eq!(
            of(b"pencil", &salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}
