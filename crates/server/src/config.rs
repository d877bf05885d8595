//! Configuration: static facts only. Flag over environment over file over default.
//!
//! Governed state (identities, grants, policies) is never configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bailiwick_api::{KillConfig, LogConfig, SignalConfig};
use bailiwick_base::{NodeName, limits, nearest};
use bailiwick_credential::signing_key::{KeyHolder, KeySchedule};
use bailiwick_holders::HolderConfig;
use bailiwick_spiffe::SpiffeConfig;
use bailiwick_witness::WitnessConfig;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::listener::require_private;

/// Names behind `BAILIWICK_` that are the command line's own, and what begins like those of tests.
const FOREIGN: [&str; 9] = [
    "ca",
    "config",
    "context",
    "demo_node_modules",
    "shared",
    "task",
    "tenant",
    "token_file",
    "url",
];
const FOREIGN_PREFIX: &str = "test_";

/// Where configuration comes from; each `Some` is a flag and wins.
#[derive(Debug, Clone, Default)]
pub struct ConfigSources {
    /// TOML file.
    pub file: Option<PathBuf>,
    /// Data folder (0700).
    pub data: Option<PathBuf>,
    /// `listen.address`.
    pub listen: Option<String>,
    /// Base URL as clients see it; derived from the listener when empty.
    pub base_url: Option<String>,
    /// `listen.insecure`.
    pub insecure_listen: Option<bool>,
    /// `witness.file`.
    pub witness: Option<PathBuf>,
}

/// The service's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Data folder (0700).
    pub data: PathBuf,
    /// Base URL as clients see it; derived from the listener when empty.
    pub base_url: String,
    /// Name of this node; part of its decision log's origin.
    pub node: String,
    /// Start although the clock is more than 10 minutes behind the last record: recorded, and every token is dead.
    pub danger_clock_set_back: bool,
    /// Listener.
    pub listen: Listen,
    /// Store.
    pub store: Store,
    /// Keys.
    pub keys: Keys,
    /// SPIFFE IDs, and the workload API.
    pub spiffe: SpiffeConfig,
    /// The kill switch.
    pub kill: KillConfig,
    /// Tokens.
    pub tokens: Tokens,
    /// Decision log.
    pub log: LogConfig,
    /// What is kept outside the data folder.
    pub witness: WitnessConfig,
    /// Freshness of this node's word.
    pub freshness: Freshness,
    /// Calls through the gateway.
    pub gateway: Gateway,
    /// The way out.
    pub outbound: Outbound,
    /// Egress proxy.
    pub proxy: Egress,
    /// What is told to others.
    pub signals: SignalConfig,
    /// Traces and log lines.
    pub telemetry: Telemetry,
}

/// `[listen]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port.
    pub address: String,
    /// Plaintext on an address that is not loopback.
    pub insecure: bool,
    /// PEM file with the certificate chain.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the private key (0600).
    pub tls_key: Option<PathBuf>,
    /// Host names, beside the listener's own, that requests may carry.
    pub allowed_hosts: Vec<String>,
    /// Seconds that open calls get when the service stops.
    pub drain_secs: u64,
    /// Seconds for a TLS handshake, and for each head of a request from its first byte (1 to 60).
    pub header_secs: u64,
    /// Seconds for which a peer may take nothing of its answer before its connection is cut (1 to 600).
    pub stall_secs: u64,
    /// Connections at once; fewer when the limit of open files is low, so that some are left for the rest.
    pub connections_max: usize,
    /// Connections at once from one address (IPv6: one /64), and never more than half of all.
    pub connections_per_peer_max: usize,
    /// MiB of request bodies in flight: half for calls, a quarter each for operators and for token requests (8 to 65536).
    pub body_mib_max: usize,
}

/// `[store]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `sqlite` or `postgres`.
    pub engine: String,
    /// File with the PostgreSQL URL (0600), for it holds a password.
    pub url_file: Option<PathBuf>,
    /// Who accepts, and why, that a replica which follows late may take over without what was acknowledged last; without
    /// it the start is refused where there is one. Recorded with each start.
    pub async_replica_waiver: Option<String>,
}

/// `[keys]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// File with the unseal key (0600); `unseal.key` in the data folder when absent.
    pub unseal_file: Option<PathBuf>,
    /// Name of the systemd credential with the unseal key, in the folder of credentials.
    pub unseal_credential: Option<String>,
    /// File with the passphrase (0600) the root key was sealed with at the ceremony.
    pub passphrase_file: Option<PathBuf>,
    /// Folder of credentials; what systemd says in `CREDENTIALS_DIRECTORY` unless told.
    pub credentials_folder: Option<PathBuf>,
    /// Days from one rotation of a tenant's signing key to the next; 0 for by command only.
    pub rotate_days: u64,
    /// Seconds a signing key is published before it signs (3900 to 2592000).
    pub publish_ahead_secs: u64,
    /// Who holds signing keys.
    pub holder: HolderConfig,
}

impl Keys {
    /// When signing keys are made and changed.
    pub(crate) fn schedule(&self) -> KeySchedule {
        KeySchedule {
            every: (self.rotate_days > 0)
                .then(|| Duration::from_secs(self.rotate_days.saturating_mul(86_400))),
            ahead: Duration::from_secs(self.publish_ahead_secs),
            holder: KeyHolder::parse(&self.holder.kind).unwrap_or_default(),
        }
    }

    fn validate(&self) -> anyhow::Result<()> {
        self.holder.validate()?;
        let given = [
            self.unseal_file.is_some(),
            self.unseal_credential.is_some(),
            self.passphrase_file.is_some(),
        ];
        ensure!(
            given.into_iter().filter(|is| *is).count() <= 1,
            "config keys `keys.unseal_file`, `keys.unseal_credential` and `keys.passphrase_file`: give one of them"
        );
        ensure!(
            self.rotate_days <= 3_650,
            "config key `keys.rotate_days`: {} is more than 3650",
            self.rotate_days
        );
        ensure!(
            (KeySchedule::AHEAD_MIN.as_secs()..=2_592_000).contains(&self.publish_ahead_secs),
            "config key `keys.publish_ahead_secs`: {} is not {} to 2592000",
            self.publish_ahead_secs,
            KeySchedule::AHEAD_MIN.as_secs()
        );
        Ok(())
    }
}

/// `[tokens]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Lifetime of an access token, seconds (1 to 3600).
    pub ttl_secs: u64,
    /// Longest act chain that a token exchange makes (1 to 4).
    pub exchange_depth_max: usize,
}

impl Tokens {
    pub(crate) fn limits(&self) -> bailiwick_credential::Limits {
        bailiwick_credential::Limits {
            token_ttl_max: Duration::from_secs(self.ttl_secs),
            exchange_depth_max: self.exchange_depth_max,
            ..bailiwick_credential::Limits::default()
        }
    }
}

/// `[freshness]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// Age of the word of the store at which this node warns, seconds (1 to `refuse_secs`).
    pub warn_secs: u64,
    /// Age of the word of the store at which this node refuses, seconds (1 to 30).
    pub refuse_secs: u64,
}

/// `[gateway]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Seconds a call may take in all, however much its upstream server sends meanwhile (1 to 86400).
    pub call_max_secs: u64,
}

/// `[outbound]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbound {
    /// PEM file with private CAs that may vouch for issuers and upstream servers, beside the public ones.
    pub ca_file: Option<PathBuf>,
}

/// `[proxy]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Address and port on loopback; no egress proxy when empty.
    pub listen: String,
    /// How long agent or destination may be silent, or take nothing, before a call ends.
    pub silence_secs: u64,
}

/// `[telemetry]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// OTLP/HTTP base endpoint, below which traces go to /v1/traces; none when empty.
    pub otlp_endpoint: String,
    /// `json` or `text`.
    pub format: String,
    /// Filter, e.g. `info`.
    pub level: String,
}

impl Store {
    fn validate(&self) -> anyhow::Result<()> {
        match self.engine.as_str() {
            "sqlite" => {}
            "postgres" => ensure!(
                self.url_file.is_some(),
                "config key `store.url_file` is missing: put the PostgreSQL URL into a file with mode 0600"
            ),
            other => bail!("config key `store.engine`: `{other}` is neither sqlite nor postgres"),
        }
        let waiver = self.async_replica_waiver.as_ref().map(|text| text.trim().len());
        ensure!(
            waiver.is_none_or(|bytes| (12..=500).contains(&bytes)),
            "config key `store.async_replica_waiver`: say in 12 to 500 bytes who accepts it, and why"
        );
        Ok(())
    }
}

impl Listen {
    fn validate(&self) -> anyhow::Result<()> {
        ensure!(
            self.drain_secs <= 600,
            "config key `listen.drain_secs`: {} is more than 600",
            self.drain_secs
        );
        ensure!(
            (1..=60).contains(&self.header_secs),
            "config key `listen.header_secs`: {} is not 1 to 60",
            self.header_secs
        );
        ensure!(
            (1..=600).contains(&self.stall_secs),
            "config key `listen.stall_secs`: {} is not 1 to 600",
            self.stall_secs
        );
        ensure!(
            self.connections_max > 0 && self.connections_per_peer_max > 0,
            "config keys `listen.connections_max` and `listen.connections_per_peer_max` must be at least 1"
        );
        ensure!(
            (8..=65_536).contains(&self.body_mib_max),
            "config key `listen.body_mib_max`: {} is not 8 to 65536",
            self.body_mib_max
        );
        Ok(())
    }
}

impl Config {
    /// How old this node's word may be.
    pub(crate) fn bounds(&self) -> anyhow::Result<bailiwick_node::Bounds> {
        let Freshness {
            warn_secs,
            refuse_secs,
        } = self.freshness;
        bailiwick_node::Bounds::of_secs(warn_secs.min(refuse_secs.max(1)), refuse_secs)
            .map_err(|error| anyhow::anyhow!("config section `freshness`: {error}"))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("bailiwick-data"),
            base_url: String::new(),
            node: "node-1".to_owned(),
            danger_clock_set_back: false,
            listen: Listen {
                address: "127.0.0.1:8787".to_owned(),
                insecure: false,
                tls_certificate: None,
                tls_key: None,
                allowed_hosts: Vec::new(),
                drain_secs: 10,
                header_secs: 10,
                stall_secs: 30,
                connections_max: 4_096,
                connections_per_peer_max: 1_024,
                body_mib_max: 64,
            },
            store: Store {
                engine: "sqlite".to_owned(),
                url_file: None,
                async_replica_waiver: None,
            },
            keys: Keys {
                unseal_file: None,
                unseal_credential: None,
                passphrase_file: None,
                credentials_folder: None,
                rotate_days: 30,
                publish_ahead_secs: 86_400,
                holder: HolderConfig::default(),
            },
            spiffe: SpiffeConfig::default(),
            kill: KillConfig::default(),
            tokens: Tokens {
                ttl_secs: 300,
                exchange_depth_max: limits::ACT_DEPTH_MAX,
            },
            log: LogConfig::default(),
            witness: WitnessConfig::default(),
            freshness: Freshness {
                warn_secs: 2,
                refuse_secs: 5,
            },
            gateway: Gateway { call_max_secs: 3_600 },
            outbound: Outbound { ca_file: None },
            proxy: Egress {
                listen: String::new(),
                silence_secs: 60,
            },
            signals: SignalConfig::default(),
            telemetry: Telemetry {
                otlp_endpoint: String::new(),
                format: "json".to_owned(),
                level: "info".to_owned(),
            },
        }
    }
}

/// One effective value and where it came from.
#[derive(Debug, Clone, Serialize)]
pub struct EffectiveValue {
    /// Dotted key.
    pub key: String,
    /// Value as JSON.
    pub value: serde_json::Value,
    /// `default`, the file, the environment or a flag.
    pub origin: String,
}

/// `BAILIWICK_LISTEN__ADDRESS` is `listen.address`. A name that is neither a key nor foreign stops the start.
fn environment() -> Env {
    Env::prefixed("BAILIWICK_")
        .ignore(&FOREIGN)
        .filter(|key| !key.as_str().to_ascii_lowercase().starts_with(FOREIGN_PREFIX))
        .split("__")
}

fn figment(sources: &ConfigSources) -> anyhow::Result<Figment> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(file) = &sources.file {
        ensure!(file.is_file(), "config file `{}` does not exist", file.display());
        figment = figment.merge(Toml::file_exact(file));
    }
    let of_systemd = Env::raw().only(&["CREDENTIALS_DIRECTORY"]);
    figment = figment.merge(of_systemd.map(|_| "keys.credentials_folder".into()));
    figment = figment.merge(environment());
    let flags: [(&str, Option<serde_json::Value>); 5] = [
        ("data", sources.data.as_ref().map(|d| serde_json::json!(d))),
        (
            "witness.file",
            sources.witness.as_ref().map(|w| serde_json::json!(w)),
        ),
        (
            "listen.address",
            sources.listen.as_ref().map(|l| serde_json::json!(l)),
        ),
        (
            "base_url",
            sources.base_url.as_ref().map(|b| serde_json::json!(b)),
        ),
        (
            "listen.insecure",
            sources.insecure_listen.map(|i| serde_json::json!(i)),
        ),
    ];
    for (key, value) in flags {
        if let Some(value) = value {
            figment = figment.merge(Serialized::default(key, value));
        }
    }
    Ok(figment)
}

impl Config {
    /// Reads and validates.
    ///
    /// # Errors
    /// Names the key that is unknown, missing or out of range.
    pub fn read(sources: &ConfigSources) -> anyhow::Result<Self> {
        let config: Self = figment(sources)?.extract().map_err(|error| describe(&error))?;
        config.validate()?;
        config.kill.validate()?;
        Ok(config)
    }

    /// Every effective value with its origin.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn effective(sources: &ConfigSources) -> anyhow::Result<Vec<EffectiveValue>> {
        let config = Self::read(sources)?;
        let figment = figment(sources)?;
        let mut rows = Vec::new();
        flatten("", &serde_json::to_value(&config)?, &mut |key, value| {
            let origin = figment.find_metadata(&key).map_or_else(
                || "default".to_owned(),
                |m| match (&m.source, m.name.as_ref()) {
                    (Some(figment::Source::File(file)), _) => file.display().to_string(),
                    (_, name) if name.contains("environment") => "environment".to_owned(),
                    (_, name) if name.contains("Config") => "default".to_owned(),
                    _ => "flag".to_owned(),
                },
            );
            rows.push(EffectiveValue {
                key,
                value: value.clone(),
                origin,
            });
        });
        Ok(rows)
    }

    fn validate(&self) -> anyhow::Result<()> {
        NodeName::parse(&self.node).context("config key `node`")?;
        self.listen.address.parse::<SocketAddr>().with_context(|| {
            format!(
                "config key `listen.address`: `{}` is not ADDRESS:PORT",
                self.listen.address
            )
        })?;
        self.store.validate()?;
        self.spiffe.validate()?;
        self.keys.validate()?;
        self.witness.place(&self.data)?;
        bailiwick_cosign::require_askable(&self.witness)?;
        ensure!(
            (1..=3_600).contains(&self.tokens.ttl_secs),
            "config key `tokens.ttl_secs`: {} is not 1 to 3600",
            self.tokens.ttl_secs
        );
        ensure!(
            (1..=limits::ACT_DEPTH_MAX).contains(&self.tokens.exchange_depth_max),
            "config key `tokens.exchange_depth_max`: {} is not 1 to 4",
            self.tokens.exchange_depth_max
        );
        self.bounds()?;
        ensure!(
            matches!(self.telemetry.format.as_str(), "json" | "text"),
            "config key `telemetry.format`: `{}` is neither json nor text",
            self.telemetry.format
        );
        let endpoint = &self.telemetry.otlp_endpoint;
        ensure!(
            endpoint.is_empty() || endpoint.starts_with("http://"),
            "config key `telemetry.otlp_endpoint`: `{endpoint}` does not begin with http://; run a collector on this \
             machine, which sends on over TLS"
        );
        ensure!(
            self.listen.tls_certificate.is_some() == self.listen.tls_key.is_some(),
            "config keys `listen.tls_certificate` and `listen.tls_key` belong together: set both"
        );
        self.log.validate()?;
        self.listen.validate()?;
        self.proxy_listen()?;
        ensure!(
            (1..=86_400).contains(&self.gateway.call_max_secs),
            "config key `gateway.call_max_secs`: {} is not 1 to 86400",
            self.gateway.call_max_secs
        );
        ensure!(
            self.base_url.is_empty() || bailiwick_mcp::GatewayConfig::new(&self.base_url).is_ok(),
            "config key `base_url`: `{}` is not of the form https://host[:port], without a path and without a \
             slash at the end",
            self.base_url
        );
        Ok(())
    }

    /// Refuses settings that would be unsafe in service.
    ///
    /// # Errors
    /// Names the setting and what to do.
    pub fn require_safe(&self) -> anyhow::Result<()> {
        let address = self.socket()?;
        let tls = self.listen.tls_certificate.is_some();
        ensure!(
            address.ip().is_loopback() || tls || self.listen.insecure,
            "refusing to listen on {address} without TLS: set listen.tls_certificate and listen.tls_key, or accept \
             plaintext with --insecure-listen"
        );
        Ok(())
    }

    /// Refuses secrets and keys that others than this user may read; what does not exist yet is made private.
    ///
    /// # Errors
    /// Names every file or folder and the command that mends it.
    pub fn require_private(&self) -> anyhow::Result<()> {
        let named = [
            ("keys.unseal_file", &self.keys.unseal_file),
            ("listen.tls_key", &self.listen.tls_key),
            ("store.url_file", &self.store.url_file),
        ];
        let named = named
            .into_iter()
            .filter_map(|(key, file)| Some((key, file.as_ref()?)));
        let mut open: Vec<String> = named
            .filter_map(|(key, file)| {
                let error = require_private(file).err()?;
                Some(format!("config key `{key}`: {error:#}"))
            })
            .collect();
        if self.data.exists() {
            let kept = crate::doctor::examine_secrets(&self.data);
            open.extend(
                kept.into_iter()
                    .filter_map(|f| Some(format!("{}: {}", f.what, f.mend?))),
            );
        }
        ensure!(open.is_empty(), "{}", open.join("; "));
        Ok(())
    }

    /// Where the egress proxy listens, if it does, with its other keys in order.
    pub(crate) fn proxy_listen(&self) -> anyhow::Result<Option<SocketAddr>> {
        ensure!(
            (1..=3_600).contains(&self.proxy.silence_secs),
            "config key `proxy.silence_secs`: {} is not 1 to 3600",
            self.proxy.silence_secs
        );
        let text = &self.proxy.listen;
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = || format!("config key `proxy.listen`: `{text}` is not ADDRESS:PORT on loopback");
        let address: SocketAddr = text.parse().with_context(wrong)?;
        ensure!(address.ip().is_loopback(), wrong());
        Ok(Some(address))
    }

    /// The file with the address of a store that serves several nodes; none for the embedded one.
    #[must_use]
    pub fn served_store(&self) -> Option<&PathBuf> {
        self.store
            .url_file
            .as_ref()
            .filter(|_| self.store.engine != "sqlite")
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When that is no address.
    pub fn socket(&self) -> anyhow::Result<SocketAddr> {
        self.listen.address.parse().context("config key `listen.address`")
    }

    pub(crate) fn record_budget(&self) -> Duration {
        Duration::from_millis(self.log.record_budget_ms)
    }
}

/// One message for each thing that is wrong, with the key and where it was written.
fn describe(error: &figment::Error) -> anyhow::Error {
    let lines: Vec<String> = error
        .clone()
        .into_iter()
        .map(|e| {
            let at = match e.metadata.as_ref().map(|m| (&m.source, &m.name)) {
                Some((Some(figment::Source::File(file)), _)) => file.display().to_string(),
                Some((_, name)) => name.to_string(),
                None => String::new(),
            };
            let key = e.path.join(".");
            let key = if key.is_empty() {
                String::new()
            } else {
                format!("key `{key}`: ")
            };
            format!("{key}{} (in {at})", fault(&e.kind))
        })
        .collect();
    anyhow::anyhow!("configuration is not valid: {}", lines.join("; "))
}

/// What is wrong with a key; an unknown one with the known one that it is most like.
fn fault(kind: &figment::error::Kind) -> String {
    let figment::error::Kind::UnknownField(key, known) = kind else {
        return kind.to_string();
    };
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("`{key}` is not known, did you mean `{near}`?"),
        None => format!("`{key}` is not known, expected one of `{}`", known.join("`, `")),
    }
}

fn flatten(prefix: &str, value: &serde_json::Value, row: &mut impl FnMut(String, &serde_json::Value)) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, inner) in members {
                let key = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&key, inner, row);
            }
        }
        leaf => row(prefix.to_owned(), leaf),
    }
}
