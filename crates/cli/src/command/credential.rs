//! `bailiwick credential`.

use std::path::Path;

use bailiwick_wire::{
    AwsTarget, ConfirmMoved, Credential as Row, EndpointOverride, FetchSecret, FetchedSecret, NewCredential,
    NewLease, Page, ReplaceSecret, RotationRequest, RotationTarget,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Done;
use super::id::{encoded, expiry};
use crate::args::{Credential, Global, NewCredential as NewArgs};
use crate::client::Client;
use crate::files::{self, NewFile};
use crate::output::{Failure, Output, Paper, exit};

pub(crate) async fn run(command: Credential, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Credential::Add(new) => {
            let added: Row = client.post(&client.path("credentials")?, &body_of(*new)?).await?;
            output.result(&added, |paper| show(paper, &added));
        }
        Credential::Ls => {
            let page = every(&client).await?;
            output.result(&page, |paper| list(paper, &page));
        }
        Credential::Schedule => {
            let page = every(&client).await?;
            output.result(&page, |paper| schedule(paper, &page));
        }
        Credential::Show { credential } => {
            let found: Row = client.get(&path(&client, &credential, "")?).await?;
            output.result(&found, |paper| show(paper, &found));
        }
        Credential::Rotate { credential, reason } => {
            let path = path(&client, &credential, "/rotate")?;
            let begun: Row = client.post(&path, &RotationRequest { reason }).await?;
            output.result(&begun, |paper| rotation(paper, &begun));
        }
        Credential::Rotation {
            credential,
            cancel,
            moved,
            reason,
        } => {
            let found: Row = if let Some(consumer) = moved {
                let path = path(&client, &credential, "/rotation/confirm")?;
                client.post(&path, &ConfirmMoved { consumer }).await?
            } else if cancel {
                let path = path(&client, &credential, "/rotation/cancel")?;
                client.post(&path, &RotationRequest { reason }).await?
            } else {
                client.get(&path(&client, &credential, "")?).await?
            };
            output.result(&found, |paper| rotation(paper, &found));
        }
        Credential::Fetch {
            credential,
            secret_file,
            replace,
        } => {
            // Taken before anything is asked for, so that nobody fetches what cannot be written.
            let fresh = (!replace).then(|| NewFile::take(&secret_file)).transpose()?;
            fetch(&client, &credential, (&secret_file, fresh), output).await?;
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
        Credential::Replace {
            credential,
            secret_file,
        } => {
            let body = ReplaceSecret {
                secret: read_secret(&secret_file)?,
            };
            let replaced: Row = client
                .post(&path(&client, &credential, "/replace")?, &body)
                .await?;
            output.result(&replaced, |paper| show(paper, &replaced));
        }
    }
    Ok(exit::OK)
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
    (file, fresh): (&Path, Option<NewFile>),
    output: &Output,
) -> Result<(), Failure> {
    let fetched: FetchedSecret = client
        .post(&path(client, credential, "/fetch")?, &FetchSecret {})
        .await?;
    let secret = STANDARD
        .decode(&fetched.secret)
        .map(zeroize::Zeroizing::new)
        .map_err(|_| Failure::new(exit::ERROR, "cli.answer", "the secret was not understood"))?;
    match fresh {
        Some(fresh) => fresh.fill(&secret)?,
        None => files::replace_private(file, &secret)?,
    }
    let told = json!({ "name": fetched.name, "login": fetched.login, "fingerprint": fetched.fingerprint, "file": file });
    output.result(&told, |paper| {
        let login = fetched.login.unwrap_or_default();
        paper.line(format!("{} {login} {}", file.display(), fetched.fingerprint));
    });
    Ok(())
}

fn body_of(mut new: NewArgs) -> Result<NewCredential, Failure> {
    let aws = aws_of(&mut new);
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
    })
}

fn aws_of(new: &mut NewArgs) -> Option<AwsTarget> {
    let user = new.aws_user.take()?;
    let plaintext = new.allow_plaintext;
    let addresses = std::mem::take(&mut new.allow_addresses);
    Some(AwsTarget {
        user,
        key: new.aws_key.take().unwrap_or_default(),
        region: new.aws_region.clone(),
        manager_key: new.manager_login.take().unwrap_or_default(),
        manager: new.manager.take().unwrap_or_default(),
        lease_role: new.aws_lease_role.take(),
        danger_endpoint_override: new.danger_endpoint_override.take().map(|url| EndpointOverride {
            url,
            allow_addresses: addresses,
            allow_plaintext: plaintext,
        }),
    })
}

fn parse_place(place: &str) -> Result<(String, u16, String), Failure> {
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

fn list(paper: &mut Paper, page: &Page<Row>) {
    let rows = page.items.iter().map(|c| {
        vec![
            c.name.clone(),
            c.kind.clone(),
            c.owner.as_ref().map(|o| o.team.clone()).unwrap_or_default(),
            c.rotation
                .as_ref()
                .map_or_else(|| "steady".to_owned(), |r| r.phase.clone()),
            c.expires_at.clone(),
            c.id.clone(),
        ]
    });
    paper.table(
        &["name", "kind", "owner", "state", "expires", "id"],
        rows.collect(),
        "no credentials yet: bailiwick credential add NAME --kind KIND --identity ID --secret-file FILE",
    );
}

fn schedule(paper: &mut Paper, page: &Page<Row>) {
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
        "no credentials yet: bailiwick credential add NAME --kind KIND --identity ID --secret-file FILE",
    );
    if page.items.iter().any(|c| c.last_rotation.is_some()) {
        paper.line("proof of an entry: bailiwick log prove ENTRY --log state --disclose -o FILE");
    }
}

fn show(paper: &mut Paper, c: &Row) {
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
    if let Some(target) = &c.target {
        let plain = if target.allow_plaintext {
            ", plaintext allowed"
        } else {
            ""
        };
        let place = format!("{}:{}/{}{plain}", target.host, target.port, target.database);
        pairs.push(("target", place));
        pairs.push(("logins", target.logins.join(", ")));
    }
    if let Some(aws) = &c.aws {
        pairs.push(("target", format!("IAM user {} at AWS, {}", aws.user, aws.region)));
        if let Some(role) = &aws.lease_role {
            pairs.push(("lease role", role.clone()));
        }
        if let Some(over) = &aws.danger_endpoint_override {
            let plain = if over.allow_plaintext {
                ", plaintext allowed"
            } else {
                ""
            };
            let ranges = over.allow_addresses.join(", ");
            pairs.push((
                "DANGER endpoint override",
                format!("{} {ranges}{plain}", over.url),
            ));
        }
    }
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
        rotation(paper, c);
    }
}

fn rotation(paper: &mut Paper, c: &Row) {
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
    for consumer in &r.waiting {
        paper.line(format!(
            "  waiting  {consumer}: bailiwick credential fetch {} --secret-file FILE --replace",
            c.name
        ));
        if c.aws.is_some() {
            paper.line(format!(
                "           then:   bailiwick credential rotation {} --moved {consumer}",
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
    if let Some(trouble) = &r.trouble {
        paper.line(format!("  trouble  {trouble}"));
    }
}
