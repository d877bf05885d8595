//! `bailiwick credential`.

use std::path::Path;

use bailiwick_wire::{
    AwsTarget, ConfirmMoved, Credential as Row, EndpointOverride, FetchSecret, FetchedSecret,
    GithubAppTarget, HttpTarget, NewCredential, NewLease, Page, ReplaceSecret, Revoked, RotationRequest,
    RotationTarget,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Done;
use super::id::{encoded, expiry};
use crate::args::{Credential, FetchFormat, Global, NewCredential as NewArgs};
use crate::client::Client;
use crate::files::{self, NewFile};
use crate::output::{Failure, Output, Paper, exit};

pub(crate) async fn run(command: Credential, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Credential::Add(new) => {
            let added: Row = client.post(&client.path("credentials")?, &body_of(*new)?).await?;
            let tenant = client.tenant()?;
            output.result(&added, |paper| show(paper, &added, tenant));
        }
        Credential::Ls => {
            let page = every(&client).await?;
            let empty = none_yet(client.tenant()?);
            output.result(&page, |paper| list(paper, &page, &empty));
        }
        Credential::Schedule => {
            let page = every(&client).await?;
            let empty = none_yet(client.tenant()?);
            output.result(&page, |paper| schedule(paper, &page, &empty));
        }
        Credential::Show { credential } => {
            let found: Row = client.get(&path(&client, &credential, "")?).await?;
            let tenant = client.tenant()?;
            output.result(&found, |paper| show(paper, &found, tenant));
        }
        Credential::Fetch {
            credential,
            secret_file,
            replace,
            format,
        } => {
            // Taken before anything is asked for, so that nobody fetches what cannot be written.
            let fresh = (!replace).then(|| NewFile::take(&secret_file)).transpose()?;
            fetch(&client, &credential, (&secret_file, fresh, format), output).await?;
        }
        Credential::Lease {
            credential,
            task,
            reason,
            span,
            secret_file,
            beyond_scope,
        } => {
            let body = NewLease {
                credential,
                for_secs: span.as_secs(),
                reason,
                beyond_scope,
            };
            super::lease::lend(&client, &task, &body, &secret_file, output).await?;
        }
        Credential::GiveBack { lease, reason } => {
            super::lease::give_back(&client, &lease, reason, output).await?;
        }
        change => change_one(change, &client, output).await?,
    }
    Ok(exit::OK)
}

/// Commands that change one credential and show what it is then.
async fn change_one(command: Credential, client: &Client, output: &Output) -> Result<(), Failure> {
    let (row, paper): (Row, fn(&mut Paper, &Row, &str)) = match command {
        Credential::Rotate { credential, reason } => {
            let path = path(client, &credential, "/rotate")?;
            (client.post(&path, &RotationRequest { reason }).await?, rotation)
        }
        Credential::Correct(given) => {
            let found: Row = client.get(&path(client, &given.credential, "")?).await?;
            let path = path(client, &found.id, "/correct")?;
            let body = super::correct::body_of(*given, found)?;
            (client.post(&path, &body).await?, show)
        }
        Credential::Remove { credential, reason } => {
            let path = path(client, &credential, "/remove")?;
            let body = RotationRequest { reason };
            (client.post(&path, &body).await?, removed)
        }
        Credential::Revoke { credential, reason } => {
            let path = path(client, &credential, "/revoke")?;
            (client.post(&path, &RotationRequest { reason }).await?, show)
        }
        Credential::Rotation {
            credential,
            cancel,
            moved,
            reason,
        } => {
            let found = if let Some(consumer) = moved {
                let path = path(client, &credential, "/rotation/confirm")?;
                client.post(&path, &ConfirmMoved { consumer }).await?
            } else if cancel {
                let path = path(client, &credential, "/rotation/cancel")?;
                client.post(&path, &RotationRequest { reason }).await?
            } else {
                client.get(&path(client, &credential, "")?).await?
            };
            (found, rotation)
        }
        Credential::Replace {
            credential,
            secret_file,
        } => {
            let body = ReplaceSecret {
                secret: read_secret(&secret_file)?,
            };
            let path = path(client, &credential, "/replace")?;
            (client.post(&path, &body).await?, show)
        }
        _ => return Ok(()),
    };
    let tenant = client.tenant()?;
    output.result(&row, |sheet| paper(sheet, &row, tenant));
    Ok(())
}

fn path(client: &Client, credential: &str, rest: &str) -> Result<String, Failure> {
    client.path(&format!("credentials/{}{rest}", encoded(credential)))
}

fn read_secret(file: &Path) -> Result<String, Failure> {
    let bytes = zeroize::Zeroizing::new(files::read(file)?);
    Ok(STANDARD.encode(bytes.trim_ascii_end()))
}

/// All pages as one.
async fn every(client: &Client) -> Result<Page<Row>, Failure> {
    let mut page: Page<Row> = client.get(&client.path("credentials")?).await?;
    while let Some(after) = page.next.take() {
        let more: Page<Row> = client
            .get(&client.path(&format!("credentials?after={after}"))?)
            .await?;
        page.items.extend(more.items);
        page.next = more.next;
    }
    Ok(page)
}

/// `fresh` is the file where nothing stood before.
async fn fetch(
    client: &Client,
    credential: &str,
    (file, fresh, format): (&Path, Option<NewFile>, FetchFormat),
    output: &Output,
) -> Result<(), Failure> {
    let fetched: FetchedSecret = client
        .post(&path(client, credential, "/fetch")?, &FetchSecret {})
        .await?;
    let secret = STANDARD
        .decode(&fetched.secret)
        .map(zeroize::Zeroizing::new)
        .map_err(|_| Failure::new(exit::ERROR, "cli.answer", "the secret was not understood"))?;
    let secret = super::fetched::written(&fetched, secret, format)?;
    match fresh {
        Some(fresh) => fresh.fill(&secret)?,
        None => files::replace_private(file, &secret)?,
    }
    let told = json!({ "name": fetched.name, "login": fetched.login, "fingerprint": fetched.fingerprint, "file": file });
    output.result(&told, |paper| {
        let mut pairs = vec![("file", file.display().to_string())];
        pairs.extend(fetched.login.map(|login| ("login", login)));
        pairs.push(("fingerprint", fetched.fingerprint.clone()));
        paper.pairs(&pairs);
    });
    Ok(())
}

fn body_of(mut new: NewArgs) -> Result<NewCredential, Failure> {
    let aws = aws_of(&mut new);
    let http = http_of(&mut new)?;
    let github_app = new.github_app.take().map(|app| GithubAppTarget {
        app,
        danger_endpoint_override: override_of(&mut new),
    });
    if new.danger_endpoint_override.is_some() {
        return Err(Failure::usage(
            "--danger-endpoint-override is for a vendor's endpoint: give --aws-user or --github-app",
        ));
    }
    let target = match new.target.as_deref() {
        None => None,
        Some(place) => {
            let (host, port, database) = parse_place(place)?;
            let logins = <[String; 2]>::try_from(new.logins)
                .map_err(|_| Failure::usage("two logins take turns: give --login twice"))?;
            Some(RotationTarget {
                host,
                port,
                database,
                role: new.role.unwrap_or_default(),
                logins,
                manager_login: new.manager_login.unwrap_or_default(),
                manager: new.manager.unwrap_or_default(),
                allow_addresses: new.allow_addresses,
                allow_plaintext: new.allow_plaintext,
            })
        }
    };
    Ok(NewCredential {
        name: new.name,
        kind: new.kind,
        identity: new.identity,
        secret: read_secret(&new.secret_file)?,
        expires_at: new.expires.as_deref().map(expiry).transpose()?,
        every: new.every.map(|span| span.as_secs()),
        overlap: new.overlap.map(|span| span.as_secs()),
        consumers: new.consumers,
        target,
        aws,
        github_app,
        http,
        no_try: new.no_try,
    })
}

fn http_of(new: &mut NewArgs) -> Result<Option<HttpTarget>, Failure> {
    let Some(file) = new.driver.take() else {
        return Ok(None);
    };
    Ok(Some(HttpTarget {
        url: new.url.take().unwrap_or_default(),
        key: new.key.take().unwrap_or_default(),
        manager: new.manager.take().unwrap_or_default(),
        document: files::read_text(&file)?,
        allow_addresses: std::mem::take(&mut new.allow_addresses),
        allow_plaintext: new.allow_plaintext,
    }))
}

fn override_of(new: &mut NewArgs) -> Option<EndpointOverride> {
    let url = new.danger_endpoint_override.take()?;
    Some(EndpointOverride {
        url,
        allow_addresses: std::mem::take(&mut new.allow_addresses),
        allow_plaintext: new.allow_plaintext,
    })
}

fn aws_of(new: &mut NewArgs) -> Option<AwsTarget> {
    let user = new.aws_user.take()?;
    Some(AwsTarget {
        user,
        key: new.aws_key.take().unwrap_or_default(),
        region: new.aws_region.clone(),
        manager_key: new.manager_login.take().unwrap_or_default(),
        manager: new.manager.take().unwrap_or_default(),
        lease_role: new.aws_lease_role.take(),
        danger_endpoint_override: override_of(new),
    })
}

pub(super) fn parse_place(place: &str) -> Result<(String, u16, String), Failure> {
    let parsed = place.split_once('/').and_then(|(address, database)| {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), port.parse().ok()?, database.to_owned()))
    });
    parsed.ok_or_else(|| {
        Failure::usage(format!("target `{place}` is not HOST:PORT/DATABASE"))
            .hint("write db.acme.example:5432/orders")
    })
}

/// `30d`, `1h`, `90s`: the largest unit that leaves no rest.
fn span(seconds: u64) -> String {
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

fn removed(paper: &mut Paper, c: &Row, _tenant: &str) {
    paper.line(format!(
        "removed {} ({}); its records stay in the state log",
        c.name, c.id
    ));
    if c.revoked.is_none() {
        paper.line("its secret was not touched: it opens there what it opened before");
    }
}

fn none_yet(tenant: &str) -> String {
    format!(
        "no credentials yet: bailiwick -t {tenant} credential add NAME --kind KIND --identity ID --secret-file FILE"
    )
}

fn list(paper: &mut Paper, page: &Page<Row>, empty: &str) {
    let rows = page.items.iter().map(|c| {
        vec![
            c.name.clone(),
            c.kind.clone(),
            c.owner.as_ref().map(|o| o.team.clone()).unwrap_or_default(),
            c.rotation
                .as_ref()
                .map_or_else(|| resting(c).to_owned(), |r| r.phase.clone()),
            c.expires_at.clone(),
            c.id.clone(),
        ]
    });
    paper.table(
        &["name", "kind", "owner", "state", "expires", "id"],
        rows.collect(),
        empty,
    );
}

fn resting(c: &Row) -> &'static str {
    match &c.revoked {
        None => "steady",
        Some(end) if end.at.is_none() => "being revoked",
        Some(_) => "revoked",
    }
}

fn schedule(paper: &mut Paper, page: &Page<Row>, empty: &str) {
    let rows = page.items.iter().map(|c| {
        let (at, entry) = match &c.last_rotation {
            Some(last) => (last.at.clone(), last.entry.to_string()),
            None => ("never".to_owned(), String::new()),
        };
        let next = if c.overdue {
            format!("{} OVERDUE", c.due_at)
        } else {
            c.due_at.clone()
        };
        vec![
            c.name.clone(),
            c.owner.as_ref().map(|o| o.team.clone()).unwrap_or_default(),
            span(c.every),
            next,
            at,
            entry,
        ]
    });
    paper.table(
        &["name", "owner", "every", "next", "last rotation", "log entry"],
        rows.collect(),
        empty,
    );
    if page.items.iter().any(|c| c.last_rotation.is_some()) {
        paper.line("proof of an entry: bailiwick log prove ENTRY --log state --disclose -o FILE");
    }
}

fn show(paper: &mut Paper, c: &Row, tenant: &str) {
    let owner = c.owner.as_ref().map(|o| format!("{} <{}>", o.team, o.contact));
    let mut pairs = vec![
        ("credential", paper.strong(&c.name)),
        ("id", c.id.clone()),
        ("kind", c.kind.clone()),
        ("identity", c.identity.clone()),
        ("owner", owner.unwrap_or_default()),
        ("fingerprint", c.fingerprint.clone()),
        ("expires", c.expires_at.clone()),
        (
            "rotated",
            format!("every {}, overlap {}", span(c.every), span(c.overlap)),
        ),
        ("next", c.due_at.clone()),
    ];
    pairs.extend(places(c));
    pairs.extend(c.revoked.as_ref().map(|end| ("REVOKED", revoked(end))));
    if let Some(login) = &c.login {
        pairs.push(("in use", login.clone()));
    }
    if !c.consumers.is_empty() {
        pairs.push(("consumers", c.consumers.join(", ")));
    }
    if let Some(last) = &c.last_rotation {
        let refused = last
            .refused
            .as_ref()
            .map(|code| format!(", old secret refused with {code}"));
        let text = format!(
            "{}, state log entry {}{}",
            last.at,
            last.entry,
            refused.unwrap_or_default()
        );
        pairs.push(("last rotation", text));
    }
    if let Some(back) = &c.taken_back {
        pairs.push(("taken back", format!("{}: {}", back.at, back.reason)));
    }
    paper.pairs(&pairs);
    if c.rotation.is_some() {
        rotation(paper, c, tenant);
    }
}

/// Where the secret is accepted.
fn places(c: &Row) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    if let Some(target) = &c.target {
        let place = format!("{}:{}/{}", target.host, target.port, target.database);
        let place = reached(&place, &target.allow_addresses, target.allow_plaintext);
        pairs.push(("target", place));
        pairs.push(("logins", target.logins.join(", ")));
    }
    if let Some(aws) = &c.aws {
        pairs.push(("target", format!("IAM user {} at AWS, {}", aws.user, aws.region)));
        if let Some(role) = &aws.lease_role {
            pairs.push(("lease role", role.clone()));
        }
    }
    if let Some(app) = &c.github_app {
        pairs.push((
            "target",
            format!("GitHub App {}; a person makes and deletes its keys", app.app),
        ));
    }
    if let Some(http) = &c.http {
        let place = reached(&http.url, &http.allow_addresses, http.allow_plaintext);
        pairs.push(("target", place));
    }
    let overrides = [
        c.aws.as_ref().and_then(|t| t.danger_endpoint_override.as_ref()),
        c.github_app
            .as_ref()
            .and_then(|t| t.danger_endpoint_override.as_ref()),
    ];
    for over in overrides.into_iter().flatten() {
        let place = reached(&over.url, &over.allow_addresses, over.allow_plaintext);
        pairs.push(("DANGER endpoint override", place));
    }
    pairs
}

fn reached(url: &str, ranges: &[String], plaintext: bool) -> String {
    let mut place = url.to_owned();
    if !ranges.is_empty() {
        place = format!("{place}, {} allowed", ranges.join(" and "));
    }
    if plaintext {
        place.push_str(", plaintext allowed");
    }
    place
}

fn revoked(end: &Revoked) -> String {
    match (&end.at, &end.refused, &end.trouble) {
        (Some(at), Some(code), _) => {
            let entry = end.entry.unwrap_or_default();
            format!(
                "{at}, {}; refused with {code}, state log entry {entry}",
                end.reason
            )
        }
        (Some(at), None, _) => format!("{at}, {}; no driver could try it: end it there", end.reason),
        (None, _, Some(trouble)) => format!("under way, {}; {trouble}", end.reason),
        (None, _, None) => format!("under way, {}", end.reason),
    }
}

fn rotation(paper: &mut Paper, c: &Row, tenant: &str) {
    let Some(r) = &c.rotation else {
        paper.line(format!("{}: no rotation under way; next {}", c.name, c.due_at));
        return;
    };
    paper.line(format!(
        "rotation of {}: {}, since {}",
        c.name,
        paper.strong(&r.phase),
        r.began_at
    ));
    for consumer in &r.moved {
        paper.line(format!("  moved    {consumer}"));
    }
    // Before the new secret is valid there is nothing to fetch.
    let is_offered = !matches!(r.phase.as_str(), "preparing" | "staging");
    if !is_offered && !r.waiting.is_empty() {
        paper.line(format!(
            "  next     the new secret is made valid; then to fetch it: {}",
            r.waiting.join(", ")
        ));
    }
    for consumer in r.waiting.iter().filter(|_| is_offered) {
        paper.line(format!(
            "  waiting  {consumer}: bailiwick -t {tenant} credential fetch {} --secret-file FILE --replace",
            c.name
        ));
        if c.target.is_none() {
            paper.line(format!(
                "           then:   bailiwick -t {tenant} credential rotation {} --moved {consumer}",
                c.name
            ));
        }
    }
    for consumer in &r.unknown {
        let name = if consumer.is_empty() {
            "(no name)"
        } else {
            consumer
        };
        paper.line(format!(
            "  UNKNOWN  {name} uses the old secret: find it; nothing is revoked meanwhile"
        ));
    }
    if r.unknown_more > 0 {
        paper.line(format!("  UNKNOWN  and {} more", r.unknown_more));
    }
    if let Some(trouble) = &r.trouble {
        paper.line(format!("  trouble  {trouble}"));
    }
}
