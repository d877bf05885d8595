//! `bailiwick serve`, `dev`, and the two hidden processes.

use std::path::Path;

use bailiwick_server::{Config, ConfigSources, Listening, Service, WitnessConfig};
use bailiwick_wire::{NewTenant, Tenant};

use super::Done;
use super::claim::claim_into;
use crate::args::{Dev, Global, Serve};
use crate::client::Client;
use crate::output::{Failure, Output, exit};

/// Where `serve` and `config` read from, strongest last.
pub(crate) fn sources(serve: &Serve) -> ConfigSources {
    ConfigSources {
        file: serve.config.clone(),
        data: serve.data.clone(),
        listen: serve.listen.clone(),
        base_url: serve.base_url.clone(),
        insecure_listen: serve.insecure_listen.then_some(true),
        witness: serve.witness.clone(),
    }
}

pub(crate) fn serve(command: &Serve, output: &Output) -> Done {
    let config = Config::read(&sources(command))?;
    config.require_safe()?;
    bailiwick_server::run(async move {
        let service = Service::start(config).await?;
        say_listening(service.listening(), output);
        service.run().await;
        Ok::<_, Failure>(exit::OK)
    })?
}

fn say_listening(listening: &Listening, output: &Output) {
    let own = &listening.address;
    let heard = if *own == listening.base_url {
        String::new()
    } else {
        format!(" (this node listens on {own})")
    };
    output.note(&format!("bailiwick is ready on {}{heard}", listening.base_url));
    output.note(&format!("data folder {}", listening.data.display()));
    if listening.insecure {
        output.note(
            "WARNING: plaintext on an address that is not loopback (--insecure-listen); it is recorded",
        );
    }
    if listening.data.join("unseal.key").is_file() {
        output.note(
            "the unseal key lies in the data folder: right for a try only, for a copy of the folder opens itself; \
             next: docs/guides/keys.md",
        );
    }
    if !listening.claimed {
        let data = listening.data.display();
        output.note(&format!(
            "no operator yet; next: bailiwick claim --data {data} --name NAME"
        ));
    }
}

/// An empty installation in a temporary folder, on loopback, with an operator and one tenant.
pub(crate) fn dev(command: Dev, global: &Global, output: &Output) -> Done {
    let folder = Folder::temporary("bailiwick-dev")?;
    let mut config = loopback_config(folder.path(), &command.listen)?;
    config.witness = WitnessConfig::exempt();
    let global = Global {
        context: Some(folder.path().join("operator.json")),
        json: false,
        ..global.clone()
    };
    let tenant = global.tenant.clone().unwrap_or(command.with_tenant);
    bailiwick_server::run(async move {
        let service = Service::start(config).await?;
        let base_url = service.listening().base_url.clone();
        let stopper = service.stopper();
        let prepare = async {
            let ready = prepare(&global, folder.path(), &tenant).await;
            match &ready {
                Ok(context) => say_dev(&base_url, &tenant, context, output),
                Err(_) => stopper.stop(),
            }
            ready
        };
        let (ready, ()) = tokio::join!(prepare, service.run());
        ready?;
        Ok::<_, Failure>(exit::OK)
    })?
}

/// Claims the empty installation and makes the one tenant.
async fn prepare(global: &Global, data: &Path, tenant: &str) -> Result<std::path::PathBuf, Failure> {
    let context = claim_into(global, data, "developer", Some(tenant.to_owned())).await?;
    let client = Client::connect(global)?;
    let body = NewTenant {
        tenant: tenant.to_owned(),
        name: tenant.to_owned(),
        employees: 1,
        algorithm: None,
    };
    let _added: Tenant = client.post("/v1/tenants", &body).await?;
    Ok(context)
}

fn say_dev(base_url: &str, tenant: &str, context: &Path, output: &Output) {
    output.note(&format!("bailiwick dev is ready on {base_url} (tenant {tenant})"));
    output.note("data in a temporary folder, gone when this stops; every entry is logged as in service");
    output.note(&format!("\nexport BAILIWICK_CONTEXT={}\n", context.display()));
    output.note("bailiwick id add my-agent --kind agent --owner me --owner-contact me@localhost \\");
    output.note("    --purpose \"try it\" --expires 1d");
    output.note(&mcp_json(base_url, tenant));
}

fn mcp_json(base: &str, tenant: &str) -> String {
    format!(
        "\nMCP client configuration, once a server is added and a task opened:\n  {{\"mcpServers\": {{\"NAME\": {{\"url\": \
         \"{base}/t/{tenant}/mcp/NAME\", \"headers\": {{\"Authorization\": \"Bearer TOKEN\"}}}}}}}}"
    )
}

/// Defaults, on loopback only.
pub(crate) fn loopback_config(data: &Path, listen: &str) -> Result<Config, Failure> {
    let sources = ConfigSources {
        data: Some(data.to_owned()),
        listen: Some(listen.to_owned()),
        ..ConfigSources::default()
    };
    let mut config = Config::read(&sources)?;
    let address: std::net::SocketAddr = listen
        .parse()
        .map_err(|_| Failure::usage(format!("`{listen}` is not ADDRESS:PORT")))?;
    if !address.ip().is_loopback() {
        return Err(
            Failure::usage(format!("`{listen}` is not loopback")).hint("use `bailiwick serve` for others")
        );
    }
    config.telemetry.level = "warn".to_owned();
    config.telemetry.format = "text".to_owned();
    Ok(config)
}

/// A folder that is removed at the end, unless it is kept.
pub(crate) struct Folder {
    path: std::path::PathBuf,
    keep: bool,
}

impl Folder {
    pub(crate) fn temporary(name: &str) -> Result<Self, Failure> {
        Self::private(name, None)
    }

    /// A new folder of this user alone, in `parent` or else where temporary files are.
    pub(crate) fn private(name: &str, parent: Option<&Path>) -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let nonce = bailiwick_server::operator::idempotency_key()
            .map_err(|error| Failure::new(exit::ERROR, "cli.randomness", error.to_string()))?;
        let parent = parent.filter(|p| p.is_dir()).map(Path::to_owned);
        let path = parent
            .unwrap_or_else(std::env::temp_dir)
            .join(format!("{name}-{nonce}"));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| Failure::io("make", &path, &e))?;
        Ok(Self { path, keep: false })
    }

    pub(crate) fn kept(path: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(path).map_err(|e| Failure::io("make", path, &e))?;
        let mut held = std::fs::read_dir(path).map_err(|e| Failure::io("read", path, &e))?;
        if held.next().is_some() {
            let detail = format!("`{}` is not empty: the story begins with nothing", path.display());
            return Err(Failure::usage(detail).hint(format!(
                "give a new folder; to go on with a kept one: bailiwick serve --data {}",
                path.join("data").display()
            )));
        }
        // Programs that are started in folders of their own are told whole paths.
        let path = std::fs::canonicalize(path).map_err(|e| Failure::io("read", path, &e))?;
        Ok(Self { path, keep: true })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            crate::output::tell(&format!("`{}` not removed: {error}", self.path.display()));
        }
    }
}

pub(crate) fn launcher() -> Done {
    bailiwick_server::launcher()?;
    Ok(exit::OK)
}

pub(crate) fn builtin_mcp(root: &Path) -> Done {
    bailiwick_server::builtin_mcp(root)?;
    Ok(exit::OK)
}
