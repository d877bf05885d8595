//! The egress proxy, on the same pipeline as the gateway: off unless it is given an address.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bailiwick_api::Secrets;
use bailiwick_pep::Pep;
use bailiwick_pep::token::Verifier;
use bailiwick_proxy::{CaKey, Proxy, ProxyConfig, ProxyDeps};
use bailiwick_wire::Egress;

use crate::config::Config;
use crate::ports::Tasks;
use crate::service::Ground;

/// The proxy, bound, and how agents are told of it.
pub(crate) fn proxy(
    config: &Config,
    ground: &Ground,
    (pep, verifier, secrets): (&Arc<Pep>, &Arc<Verifier>, &Arc<Secrets>),
) -> anyhow::Result<Option<(Proxy, Egress)>> {
    let Some(listen) = config.proxy_listen()? else {
        return Ok(None);
    };
    let signer = ground.keyring.egress_signer().context("key of the egress CA")?;
    let deps = ProxyDeps {
        pep: Arc::clone(pep),
        verifier: Arc::clone(verifier),
        secrets: Arc::clone(secrets) as _,
        dialer: ground.dialer.clone(),
        ca: CaKey::new(signer.public_key().to_vec(), move |m| signer.sign(m)),
        clock: Arc::clone(&ground.clock),
        entropy: Arc::clone(&ground.entropy),
        spawner: Arc::new(Tasks),
        config: ProxyConfig {
            silence_max: Duration::from_secs(config.proxy.silence_secs),
            ..ProxyConfig::default()
        },
    };
    let proxy = Proxy::bind(listen, deps).with_context(|| format!("config key `proxy.listen`: {listen}"))?;
    let (address, ca) = proxy.told()?;
    let told = Egress {
        proxy: Some(address),
        ca: Some(ca),
    };
    Ok(Some((proxy, told)))
}
