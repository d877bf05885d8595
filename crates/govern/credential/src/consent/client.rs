//! Clients that hold no key: software that acts for whoever sits at it.

use bailiwick_base::{ClientId, Time, Transition};

use super::redirect::require_redirect;
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::task::{ending, required};

/// Redirect URIs of one client.
const REDIRECTS_MAX: usize = 16;
/// Bytes of a client id that is a URL.
const URL_MAX: usize = 400;

/// How it is known who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientSource {
    /// Its id is the URL of a document that describes it (CIMD).
    Documents {
        /// The one URL; or all below it, when it ends with `/`; or `https://*` for every one.
        below: String,
        /// Address ranges beyond the public ones where documents may be fetched.
        allow_addresses: Vec<String>,
        /// Documents may come over plain HTTP.
        danger_plaintext: bool,
    },
    /// An operator wrote its redirect URIs down.
    Registered {
        /// Them.
        redirects: Vec<String>,
    },
}

/// A client that may ask for consent: one, or all whose documents stand at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicClient {
    /// Its id; `client_id` where it is registered.
    pub id: ClientId,
    /// What people call it.
    pub name: String,
    /// How it is known.
    pub source: ClientSource,
    /// When it was added.
    pub created_at: Time,
    /// Until when it may ask.
    pub expires_at: Time,
    /// When it was removed; that is final.
    pub removed_at: Option<Time>,
}

impl PublicClient {
    /// Whether it may ask now.
    #[must_use]
    pub fn is_alive(&self, now: Time) -> bool {
        self.removed_at.is_none() && now < self.expires_at
    }

    /// Whether a document at `url` may describe a client.
    #[must_use]
    pub fn admits_document(&self, url: &str) -> bool {
        let ClientSource::Documents {
            below,
            danger_plaintext,
            ..
        } = &self.source
        else {
            return false;
        };
        let secure = url.starts_with("https://") || (*danger_plaintext && url.starts_with("http://"));
        let within =
            below == url || below == "https://*" || (below.ends_with('/') && url.starts_with(below.as_str()));
        secure && within && url.len() <= URL_MAX
    }

    /// Where its browser may be sent back to; nothing where documents say so.
    #[must_use]
    pub fn redirects(&self) -> &[String] {
        match &self.source {
            ClientSource::Documents { .. } => &[],
            ClientSource::Registered { redirects } => redirects,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct PublicClientPlan {
    /// Its id, freshly minted.
    pub id: ClientId,
    /// What people call it.
    pub name: String,
    /// How it is known.
    pub source: ClientSource,
    /// Until when; as long as allowed when absent.
    pub expires_at: Option<Time>,
}

/// Lets a client ask.
///
/// # Errors
/// [`Refusal`] naming what is wrong with its name, its redirect URIs or the place of its documents.
pub fn register_public_client(
    plan: PublicClientPlan,
    limits: &Limits,
    now: Time,
) -> Result<Transition<PublicClient>, Refusal> {
    let latest = now.after(limits.client_lifetime_max);
    let client = PublicClient {
        id: plan.id,
        name: required(&plan.name, "name", Refusal::ClientNameless)?,
        source: usable(plan.source)?,
        created_at: now,
        expires_at: ending(plan.expires_at.unwrap_or(latest), [latest], now)?,
        removed_at: None,
    };
    Ok(Transition::made("public-client.register", client))
}

fn usable(source: ClientSource) -> Result<ClientSource, Refusal> {
    match &source {
        ClientSource::Documents {
            below,
            danger_plaintext,
            allow_addresses,
        } => {
            let secure = below.starts_with("https://") || (*danger_plaintext && below.starts_with("http://"));
            let plain = below
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'?' | b'\\' | b'@'));
            if !secure || !plain || below.len() > URL_MAX {
                return Err(Refusal::ClientDocuments(
                    "it has to be an https URL without query, user and fragment",
                ));
            }
            if below.contains('*') && below != "https://*" {
                return Err(Refusal::ClientDocuments(
                    "`*` stands alone: `https://*` for every document",
                ));
            }
            let path = below.splitn(4, '/').nth(3);
            if path.is_none() && below != "https://*" {
                return Err(Refusal::ClientDocuments(
                    "end the host with `/` to mean all documents below it",
                ));
            }
            if allow_addresses.len() > REDIRECTS_MAX {
                return Err(Refusal::ClientDocuments("more than 16 address ranges"));
            }
        }
        ClientSource::Registered { redirects } => {
            if redirects.is_empty() || redirects.len() > REDIRECTS_MAX {
                return Err(Refusal::ClientRedirect(
                    String::new(),
                    "give 1 to 16 redirect URIs",
                ));
            }
            for uri in redirects {
                require_redirect(uri)
                    .map_err(|rule| Refusal::ClientRedirect(bailiwick_base::limits::shown(uri), rule.0))?;
            }
        }
    }
    Ok(source)
}

/// Lets it ask no more. Consents that it was given end with it.
///
/// # Errors
/// [`Refusal::ClientRemoved`], [`Refusal::ReasonMissing`].
pub fn remove_public_client(
    client: PublicClient,
    reason: &str,
    now: Time,
) -> Result<Transition<PublicClient>, Refusal> {
    if let Some(at) = client.removed_at {
        return Err(Refusal::ClientRemoved(at));
    }
    let reason = required(reason, "reason", Refusal::ReasonMissing)?;
    let after = PublicClient {
        removed_at: Some(now),
        ..client.clone()
    };
    Ok(Transition::changed("public-client.remove", client, after).because(reason))
}
