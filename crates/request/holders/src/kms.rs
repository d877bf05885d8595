//! AWS KMS: asymmetric keys that sign, one symmetric key that seals.

use std::sync::Arc;

use aws_lc_rs::digest;
use bailiwick_base::limits::shown;
use bailiwick_base::{Clock, Secret, SigningAlgorithm};
use bailiwick_keys::{HeldKey, Holder, HolderError};
use bailiwick_outbound::{AccessKey, AwsPost};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::config::{HolderConfig, HolderConfigError, given, secret_text};
use crate::der;
use crate::service::{Question, Service};

/// Bytes of a message that KMS hashes itself.
const RAW_MAX: usize = 4_096;
const CONTENT: &str = "application/x-amz-json-1.1";
const NO_EDDSA: HolderError = HolderError::Unsupported("AWS KMS holds RS256 and ES256 keys here");

/// Keys in AWS KMS.
pub struct AwsKms {
    service: Service,
    region: String,
    id: String,
    secret: Secret<Vec<u8>>,
    session: Option<String>,
    sealing_key: Option<String>,
    clock: Arc<dyn Clock>,
}

impl AwsKms {
    /// As configured; nothing is asked yet.
    ///
    /// # Errors
    /// [`HolderConfigError`].
    pub fn open(config: &HolderConfig, clock: Arc<dyn Clock>) -> Result<Self, HolderConfigError> {
        let wrong = |key, rule: String| HolderConfigError::Key { key, rule };
        let region = given(config.region.as_ref(), "region")?.clone();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if region.is_empty() || region.len() > 32 || !region.bytes().all(plain) {
            return Err(wrong("region", format!("`{}` is no region", shown(&region))));
        }
        let file = given(config.access_key_file.as_ref(), "access_key_file")?;
        let text = secret_text(file, "access_key_file")?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let (Some(id), Some(secret)) = (lines.next(), lines.next()) else {
            return Err(wrong(
                "access_key_file",
                "it needs the id on the first line and the secret on the second".to_owned(),
            ));
        };
        let own = format!("https://kms.{region}.amazonaws.com/");
        let url = config.danger_endpoint_override.as_ref().unwrap_or(&own);
        Ok(Self {
            service: Service::open("AWS KMS", (url, "danger_endpoint_override"), config)?,
            id: id.to_owned(),
            secret: Secret::new(secret.as_bytes().to_vec()),
            session: lines.next().map(str::to_owned),
            sealing_key: config.sealing_key.clone(),
            region,
            clock,
        })
    }

    fn ask(&self, action: &str, body: &Value) -> Result<Value, HolderError> {
        let to = self.service.endpoint("")?;
        let body = body.to_string().into_bytes();
        let post = AwsPost {
            authority: &to.authority,
            path: &to.path,
            content: CONTENT,
            target: Some(&format!("TrentService.{action}")),
            service: "kms",
            region: &self.region,
            body: &body,
            at: self.clock.now(),
        };
        let headers = post.sign(&AccessKey {
            id: &self.id,
            secret: &self.secret,
            session: self.session.as_deref(),
        });
        let answered = self.service.ask(Question {
            method: Method::POST,
            path: String::new(),
            headers: headers.map_err(|_| self.service.refused("the access key cannot be sent"))?,
            body,
        })?;
        if answered.status == StatusCode::OK {
            return Ok(answered.body);
        }
        let text = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| answered.body.get(name)?.as_str());
            found.unwrap_or_default()
        };
        let (kind, why) = (text(["__type", "code"]), text(["message", "Message"]));
        let told = format!("{kind} {why}");
        Err(self
            .service
            .failure(answered.status, &told, kind.contains("Throttl")))
    }

    fn sealing_key(&self) -> Result<&str, HolderError> {
        let key = self.sealing_key.as_deref();
        key.ok_or(HolderError::Unsupported("set `keys.holder.sealing_key` for that"))
    }
}

impl Holder for AwsKms {
    fn name(&self) -> &'static str {
        "aws-kms"
    }

    fn generate(&self, label: &str, algorithm: SigningAlgorithm) -> Result<HeldKey, HolderError> {
        let spec = match algorithm {
            SigningAlgorithm::Rs256 => "RSA_2048",
            SigningAlgorithm::Es256 => "ECC_NIST_P256",
            SigningAlgorithm::EdDsa => return Err(NO_EDDSA),
        };
        let made = self.ask(
            "CreateKey",
            &json!({"KeySpec": spec, "KeyUsage": "SIGN_VERIFY", "Description": label}),
        )?;
        let locator = made
            .pointer("/KeyMetadata/Arn")
            .and_then(Value::as_str)
            .ok_or_else(|| self.service.not_understood())?
            .to_owned();
        let public = self.ask("GetPublicKey", &json!({"KeyId": locator}))?;
        let public = der::from_spki(&self.service.bytes_of(&public, "/PublicKey")?, algorithm);
        let public = public.ok_or_else(|| self.service.not_understood())?;
        Ok(HeldKey { locator, public })
    }

    fn sign(
        &self,
        locator: &str,
        algorithm: SigningAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, HolderError> {
        let word = match algorithm {
            SigningAlgorithm::Rs256 => "RSASSA_PKCS1_V1_5_SHA_256",
            SigningAlgorithm::Es256 => "ECDSA_SHA_256",
            SigningAlgorithm::EdDsa => return Err(NO_EDDSA),
        };
        // It hashes what it may see whole; of more it takes the digest.
        let hashed = digest::digest(&digest::SHA256, message);
        let (kind, input) = if message.len() <= RAW_MAX {
            ("RAW", message)
        } else {
            ("DIGEST", hashed.as_ref())
        };
        let answer = self.ask(
            "Sign",
            &json!({
                "KeyId": locator,
                "Message": STANDARD.encode(input),
                "MessageType": kind,
                "SigningAlgorithm": word,
            }),
        )?;
        let signature = self.service.bytes_of(&answer, "/Signature")?;
        match algorithm {
            SigningAlgorithm::Es256 => {
                der::fixed_signature(&signature).ok_or_else(|| self.service.not_understood())
            }
            _ => Ok(signature.to_vec()),
        }
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, HolderError> {
        let key = self.sealing_key()?;
        let answer = self.ask(
            "Encrypt",
            &json!({"KeyId": key, "Plaintext": STANDARD.encode(plain)}),
        )?;
        Ok(self.service.bytes_of(&answer, "/CiphertextBlob")?.to_vec())
    }

    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, HolderError> {
        let key = self.sealing_key()?;
        let answer = self.ask(
            "Decrypt",
            &json!({"KeyId": key, "CiphertextBlob": STANDARD.encode(sealed)}),
        )?;
        self.service.bytes_of(&answer, "/Plaintext")
    }
}
