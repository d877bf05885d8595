//! The form in which `credential fetch` writes a secret.

use bailiwick_wire::FetchedSecret;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::args::FetchFormat;
use crate::output::{Failure, exit};

/// What stands in the file: the secret alone, or one JSON object with the name that it belongs to.
pub(super) fn written(
    fetched: &FetchedSecret,
    secret: Zeroizing<Vec<u8>>,
    format: FetchFormat,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if format == FetchFormat::Plain {
        return Ok(secret);
    }
    let text = std::str::from_utf8(&secret).map_err(|_| {
        Failure::new(
            exit::ERROR,
            "cli.answer",
            "the secret is no text, so it has no form in JSON",
        )
        .hint("fetch it with --format plain")
    })?;
    let bytes = serde_json::to_vec(&named(fetched, text));
    bytes
        .map(Zeroizing::new)
        .map_err(|_| Failure::new(exit::ERROR, "cli.answer", "the secret has no form in JSON"))
}

fn named(fetched: &FetchedSecret, secret: &str) -> Value {
    match (fetched.kind.as_str(), &fetched.login) {
        ("postgres-login", Some(login)) => json!({ "username": login, "password": secret }),
        ("aws-access-key", Some(id)) => json!({ "access_key_id": id, "secret_access_key": secret }),
        ("github-app-key", Some(app)) => json!({ "app": app, "private_key": secret }),
        (_, Some(key)) => json!({ "key": key, "secret": secret }),
        (_, None) => json!({ "secret": secret }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(kind: &str, login: Option<&str>, format: FetchFormat) -> Vec<u8> {
        let fetched = FetchedSecret {
            name: "orders-db".to_owned(),
            kind: kind.to_owned(),
            login: login.map(str::to_owned),
            fingerprint: "f".to_owned(),
            secret: String::new(),
        };
        let secret = Zeroizing::new(b"p\"w".to_vec());
        written(&fetched, secret, format)
            .ok()
            .unwrap_or_default()
            .to_vec()
    }

    #[test]
    fn the_name_stands_beside_the_secret_unless_the_secret_alone_is_asked_for() {
        assert_eq!(form("postgres-login", Some("a"), FetchFormat::Plain), b"p\"w");
        let read = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).ok();
        assert_eq!(
            read(form("postgres-login", Some("a"), FetchFormat::Json)),
            Some(json!({ "username": "a", "password": "p\"w" }))
        );
        assert_eq!(
            read(form("aws-access-key", Some("AKIA"), FetchFormat::Json)),
            Some(json!({ "access_key_id": "AKIA", "secret_access_key": "p\"w" }))
        );
        assert_eq!(
            read(form("generic", None, FetchFormat::Json)),
            Some(json!({ "secret": "p\"w" }))
        );
    }
}
