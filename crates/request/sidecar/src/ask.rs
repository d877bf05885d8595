//! Asking the node: one connection, one question at a time.

use std::time::Duration;

use bailiwick_base::{Digest, Entropy, Time, json};
use bailiwick_keys::LogSigner;
use bailiwick_wire::{JoinSidecar, JoinedSidecar, Problem, SidecarTold, SidecarWord};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{SidecarError, chain};

/// `typ` of what a sidecar shows.
pub(crate) const WORD_TYPE: &str = "bailiwick-sidecar+jwt";
/// Its life, seconds.
const WORD_LIFE: i64 = 30;
/// For a connection.
const CONNECTING: Duration = Duration::from_secs(2);
/// Bytes of an answer: a snapshot, as JSON text within JSON.
const ANSWER_MAX: usize = 2 * bailiwick_snapshot::BODY_MAX;

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The way to the node.
#[derive(Clone)]
pub(crate) struct Asker {
    http: Http,
    url: String,
}

/// With a CA of its own a node is vouched for by that one alone.
fn roots(ca: &str) -> Result<rustls::ClientConfig, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(ca.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    let mut store = rustls::RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(rustls::ClientConfig::builder()
        .with_root_certificates(store)
        .with_no_client_auth())
}

impl Asker {
    /// A way to `url`, which `ca` (PEM text) vouches for where it is given, and public roots otherwise.
    pub(crate) fn new(url: &str, ca: Option<&str>) -> Result<Self, SidecarError> {
        let builder = hyper_rustls::HttpsConnectorBuilder::new();
        let connector = match ca {
            Some(ca) => builder.with_tls_config(roots(ca).map_err(|why| SidecarError::Ca {
                path: "ca".into(),
                why,
            })?),
            None => builder.with_webpki_roots(),
        };
        let mut http = HttpConnector::new();
        // TLS is the other one's part.
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECTING));
        http.set_nodelay(true);
        let connector = connector.https_or_http().enable_http1().wrap_connector(http);
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Joins with a token.
    pub(crate) async fn join(&self, asked: &JoinSidecar) -> Result<JoinedSidecar, SidecarError> {
        self.post("/v1/sidecars/join", None, encoded(asked)?).await
    }

    /// Says a word, and hears what is new.
    pub(crate) async fn say(
        &self,
        sidecar: &str,
        (shown, word): (String, Bytes),
    ) -> Result<SidecarTold, SidecarError> {
        let path = format!("/v1/sidecars/{sidecar}/word");
        self.post(&path, Some(&shown), word).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        shown: Option<&str>,
        body: Bytes,
    ) -> Result<T, SidecarError> {
        let malformed = |why: String| SidecarError::Malformed { field: "url", why };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(shown) = shown {
            request = request.header(header::AUTHORIZATION, format!("Bearer {shown}"));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|e| malformed(e.to_string()))?;
        let unreachable = |why: String| SidecarError::Unreachable {
            url: self.url.clone(),
            why,
        };
        let reply = self
            .http
            .request(request)
            .await
            .map_err(|e| unreachable(chain(&e)))?;
        let status = reply.status();
        let bytes = Limited::new(reply.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|e| unreachable(e.to_string()))?
            .to_bytes();
        if !status.is_success() {
            let problem: Option<Problem> = serde_json::from_slice(&bytes).ok();
            let (code, detail) = problem.map_or_else(
                || ("-".to_owned(), format!("the node answered {status}")),
                |problem| (problem.code, problem.detail),
            );
            return Err(SidecarError::Answer {
                status: status.as_u16(),
                code,
                detail,
            });
        }
        json::parse_as(&bytes, ANSWER_MAX).map_err(|e| SidecarError::Answered(e.to_string()))
    }
}

fn encoded<B: serde::Serialize>(body: &B) -> Result<Bytes, SidecarError> {
    let bytes = serde_json::to_vec(body).map_err(|e| SidecarError::Answered(e.to_string()))?;
    Ok(Bytes::from(bytes))
}

/// One word and what a sidecar shows with it: a JWT of half a minute, signed with its own key, each with another `jti`,
/// and with the digest of the word, so that nobody acknowledges anything in its name.
pub(crate) fn signed(
    key: &LogSigner,
    (sidecar, base_url): (&str, &str),
    word: &SidecarWord,
    (now, entropy): (Time, &dyn Entropy),
) -> Result<(String, Bytes), SidecarError> {
    let body = encoded(word)?;
    let mut jti = [0_u8; 16];
    entropy.fill(&mut jti)?;
    let header = json!({"alg": "EdDSA", "typ": WORD_TYPE}).to_string();
    let claims = json!({
        "iss": sidecar, "aud": base_url, "iat": now.secs(), "exp": now.secs() + WORD_LIFE,
        "jti": URL_SAFE_NO_PAD.encode(jti), "body": Digest::of(&body).to_string(),
    });
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut text);
    let signature = key.sign(text.as_bytes())?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok((text, body))
}
