//! Systems of others that accept secrets: one that makes keys and sessions, and one that never answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The document that ships with the product.
const DOCUMENT: &str = include_str!("../../../../content/rotation/api-keys.toml");
const MANAGING: &str = "managing-secret";

#[derive(Default)]
struct Kept {
    /// By id: name and secret.
    keys: Mutex<BTreeMap<String, (String, String)>>,
    made: AtomicUsize,
    /// Names of sessions that are denied.
    denied: Mutex<Vec<String>>,
}

/// Keeps keys as the document says, and gives out sessions of a role as AWS does.
pub(crate) struct Keeper {
    pub(crate) url: String,
    kept: Arc<Kept>,
}

impl Keeper {
    pub(crate) async fn open() -> Self {
        let kept = Arc::new(Kept::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/", post(aws))
            .route("/v1/keys", get(list).post(create))
            .route("/v1/keys/{id}", delete(end))
            .route("/v1/whoami", get(whoami))
            .with_state(Arc::clone(&kept));
        crate::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, kept }
    }

    /// A key that a person made there: its id and its secret.
    pub(crate) fn add(&self, id: &str) -> (String, String) {
        let secret = format!("secret-of-{id}");
        let mut keys = self.kept.keys.lock().unwrap();
        keys.insert(id.to_owned(), ("by hand".to_owned(), secret.clone()));
        (id.to_owned(), secret)
    }

    pub(crate) fn accepts(&self, id: &str) -> bool {
        self.kept.keys.lock().unwrap().contains_key(id)
    }

    pub(crate) fn denied(&self) -> Vec<String> {
        self.kept.denied.lock().unwrap().clone()
    }
}

/// Where a key of `url` is managed, by the credential `manager`.
pub(crate) fn place(url: &str, key: &str) -> Value {
    json!({
        "url": url, "key": key, "manager": "manager", "document": DOCUMENT,
        "allow_addresses": ["127.0.0.1/32"], "allow_plaintext": true,
    })
}

/// Takes connections and says nothing.
pub(crate) struct Silent {
    pub(crate) url: String,
    taken: Arc<AtomicUsize>,
}

impl Silent {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        crate::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { url, taken }
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

fn is_bearer(headers: &HeaderMap, secret: &str) -> bool {
    let said = headers.get("authorization").and_then(|v| v.to_str().ok());
    said.and_then(|v| v.strip_prefix("Bearer ")) == Some(secret)
}

async fn list(State(kept): State<Arc<Kept>>, headers: HeaderMap) -> Response {
    if !is_bearer(&headers, MANAGING) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let keys = kept.keys.lock().unwrap();
    let keys = keys.iter().map(|(id, (name, _))| json!({"id": id, "name": name}));
    Json(json!({"keys": keys.collect::<Vec<_>>()})).into_response()
}

async fn create(State(kept): State<Arc<Kept>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if !is_bearer(&headers, MANAGING) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let n = kept.made.fetch_add(1, Ordering::SeqCst);
    let (id, secret) = (format!("made-{n}"), format!("secret-of-made-{n}"));
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let mut keys = kept.keys.lock().unwrap();
    keys.insert(id.clone(), (name, secret.clone()));
    Json(json!({"id": id, "secret": secret})).into_response()
}

async fn end(State(kept): State<Arc<Kept>>, Path(id): Path<String>, headers: HeaderMap) -> StatusCode {
    if !is_bearer(&headers, MANAGING) {
        return StatusCode::UNAUTHORIZED;
    }
    match kept.keys.lock().unwrap().remove(&id) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

async fn whoami(State(kept): State<Arc<Kept>>, headers: HeaderMap) -> StatusCode {
    let keys = kept.keys.lock().unwrap();
    if keys.values().any(|(_, secret)| is_bearer(&headers, secret)) {
        return StatusCode::OK;
    }
    StatusCode::UNAUTHORIZED
}

fn xml(status: StatusCode, body: String) -> Response {
    (status, [("content-type", "text/xml")], body).into_response()
}

/// What leases need of AWS: sessions of a role, and a policy that denies those of one name.
async fn aws(State(kept): State<Arc<Kept>>, body: String) -> Response {
    let fields: BTreeMap<String, String> = form(&body);
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    match field("Action").as_str() {
        "AssumeRole" => {
            let name = field("RoleSessionName");
            xml(
                StatusCode::OK,
                format!(
                    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>\
                     <SecretAccessKey>{name}</SecretAccessKey><SessionToken>{name}</SessionToken>\
                     <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
                     </AssumeRoleResponse>"
                ),
            )
        }
        "PutRolePolicy" => {
            // What only keeps the room for it denies nobody.
            if !field("PolicyDocument").contains("NotAction") {
                kept.denied.lock().unwrap().push(field("PolicyName"));
            }
            xml(StatusCode::OK, "<PutRolePolicyResponse/>".to_owned())
        }
        _ => xml(
            StatusCode::FORBIDDEN,
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
                .to_owned(),
        ),
    }
}

/// Fields of a form that holds nothing but plain words where it matters.
fn form(body: &str) -> BTreeMap<String, String> {
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
