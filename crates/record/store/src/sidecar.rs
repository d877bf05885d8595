//! Sidecars: who may be one, what each said last, and how far its decision log is anchored.
//!
//! What an operator made of a sidecar is compared with the log at each start like any other row. Beside that, and for
//! what has no entry, a seal in the row holds the digest of what the row said when a node wrote it: whoever can write the
//! database and nothing else makes no sidecar, gives none a tenant, and acknowledges nothing for it.

use bailiwick_base::{Digest, Epoch, NodeName, SealContext, Sealer, Sha256, TenantId, Time};
use bailiwick_inventory::installation;
use bailiwick_node::{Seat, Sidecar, SidecarSaid};
use serde_json::{Map, Value, json};

use crate::engine::{Conn, Failure};
use crate::error::StoreError;
use crate::row::{Arg, Cells, Fields, args, signed};
use crate::store::Store;
use crate::stored::{Rows, Stored, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "sidecar";

macro_rules! columns {
    () => {
        "sidecar, tenants, standing, key, vkey, invite, invite_until, digest, sealed, epoch, position, beat, node, \
         heard_at, has_left, vouched, log_size, log_root, anchored"
    };
}

const EVERY: &str = concat!("SELECT ", columns!(), " FROM sidecar ORDER BY sidecar");
const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM sidecar WHERE tenant = $1 AND sidecar = $2"
);
const INSERT: &str = "INSERT INTO sidecar (tenant, sidecar, tenants, standing, key, vkey, invite, invite_until, digest, \
                      sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
const UPDATE: &str = "UPDATE sidecar SET tenants = $3, standing = $4, key = $5, vkey = $6, invite = $7, \
                      invite_until = $8, digest = $9, sealed = $10 \
                      WHERE tenant = $1 AND sidecar = $2 AND digest = $11";
const SAY: &str = "UPDATE sidecar SET epoch = $3, position = $4, beat = $5, node = $6, heard_at = $7, has_left = $8, \
                   vouched = $9 WHERE tenant = $1 AND sidecar = $2 AND (heard_at IS NULL OR heard_at <= $7)";
const ANCHOR: &str = "UPDATE sidecar SET log_size = $3, log_root = $4, anchored = $5 \
                      WHERE tenant = $1 AND sidecar = $2 AND (log_size IS NULL OR log_size < $3)";
const NODE: &str = "SELECT node FROM node WHERE node = $1";
const TOUCHED: &str = "SELECT log_index FROM log_entry WHERE tenant = $1 AND log_index >= $2 AND log_index < $3 \
                       AND kind NOT LIKE 'state.sidecar.%' AND kind NOT LIKE 'state.node.%' LIMIT 1";

const SEATS: [(Seat, &str); 3] = [
    (Seat::Invited, "invited"),
    (Seat::Joined, "joined"),
    (Seat::Removed, "removed"),
];

fn seat_word(seat: Seat) -> &'static str {
    let found = SEATS.iter().find(|(s, _)| *s == seat);
    found.map_or("", |(_, word)| word)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The size of a sidecar's decision log, and its root.
pub(crate) type Anchor = (u64, [u8; 32]);

/// A sidecar as its row says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarRow {
    /// What an operator made of it.
    pub sidecar: Sidecar,
    /// What it said last; nothing where that is not vouched for.
    pub said: SidecarSaid,
    /// Size and root of its decision log, as far as it is anchored.
    pub anchor: Option<(u64, [u8; 32])>,
}

impl Stored for Sidecar {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "name": self.name.as_str(),
            "tenants": tenants_text(self),
            "standing": seat_word(self.seat),
            "key": self.key.as_ref().map(|key| hex(key)),
            "vkey": self.vkey,
            "invite": self.invite.map(|(digest, until)| json!([digest.to_string(), until.micros()])),
        })
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    /// An auditor sees whose calls it may decide, and with which keys.
    fn outline(&self) -> Map<String, Value> {
        members(json!({
            "tenants": tenants_text(self),
            "standing": seat_word(self.seat),
            "key": self.key.as_ref().map(|key| hex(key)),
            "vkey": self.vkey,
        }))
    }
}

fn tenants_text(sidecar: &Sidecar) -> String {
    let slugs: Vec<&str> = sidecar.tenants.iter().map(TenantId::as_str).collect();
    slugs.join(" ")
}

fn context<'a>(name: &'a NodeName, column: &'static str) -> SealContext<'a> {
    SealContext {
        tenant: None,
        table: TABLE,
        row: name.as_str().as_bytes(),
        column,
    }
}

/// What is sealed beside a word.
fn said_digest(said: &SidecarSaid) -> Digest {
    let mut sha = Sha256::new();
    for number in [said.epoch.0, said.position, said.beat, u64::from(said.left)] {
        sha.update_field(&number.to_be_bytes());
    }
    sha.update_field(said.node.as_ref().map_or("", NodeName::as_str).as_bytes());
    let heard = said.heard_at.map_or(0, Time::micros);
    sha.update_field(&heard.to_be_bytes());
    sha.finish()
}

fn anchor_digest((size, root): Anchor) -> Digest {
    let mut sha = Sha256::new();
    sha.update_field(&size.to_be_bytes());
    sha.update_field(&root);
    sha.finish()
}

fn holds(
    sealer: &dyn Sealer,
    (name, column): (&NodeName, &'static str),
    sealed: Option<&[u8]>,
    digest: Digest,
) -> bool {
    let opened = sealed.map(|sealed| sealer.open(&context(name, column), sealed));
    matches!(opened, Some(Ok(plain)) if plain == digest.0)
}

/// A row whose parts are told apart: what an operator made must hold, of the rest nothing is believed that does not.
struct Read {
    row: SidecarRow,
    is_said_whole: bool,
    is_anchor_whole: bool,
}

/// What an operator made, and its joining.
fn made(sealer: &dyn Sealer, f: &mut Fields) -> Result<Sidecar, StoreError> {
    let name = f.word("sidecar", |n| NodeName::parse(n).ok())?;
    let tenants = f.word("tenants", |text| {
        let parsed = text.split(' ').map(|slug| TenantId::parse(slug).ok());
        parsed.collect::<Option<Vec<_>>>()
    })?;
    let seat = f.word("standing", |s| {
        let found = SEATS.iter().find(|(_, word)| *word == s);
        found.map(|(seat, _)| *seat)
    })?;
    let key = match f.bytes_or_null("key")? {
        Some(bytes) => Some(bytes.try_into().map_err(|_| f.corrupt("key"))?),
        None => None,
    };
    let vkey = f.text_or_null("vkey")?;
    let digest = f.text_or_null("invite")?;
    let until = f.int_or_null("invite_until")?.map(Time::from_micros);
    let invite = match (digest, until) {
        (Some(text), Some(until)) => {
            let digest = Digest::from_hex(&text).ok_or_else(|| f.corrupt("invite"))?;
            Some((digest, until))
        }
        (None, None) => None,
        _ => return Err(f.corrupt("invite_until")),
    };
    let sidecar = Sidecar {
        name,
        tenants,
        seat,
        key,
        vkey,
        invite,
    };
    let sidecar = whole(sidecar, f.digest("digest")?)?;
    let sealed = f.bytes("sealed")?;
    let place = (&sidecar.name, "sealed");
    if holds(sealer, place, Some(&sealed), digest_of(&sidecar)?) {
        return Ok(sidecar);
    }
    Err(f.corrupt("sealed"))
}

/// What it said last, and whether that is vouched for.
fn said_in(sealer: &dyn Sealer, name: &NodeName, f: &mut Fields) -> Result<(SidecarSaid, bool), StoreError> {
    let said = SidecarSaid {
        epoch: Epoch(f.number("epoch")?),
        position: f.number("position")?,
        beat: f.number("beat")?,
        node: match f.text_or_null("node")? {
            Some(text) => Some(NodeName::parse(&text).map_err(|_| f.corrupt("node"))?),
            None => None,
        },
        heard_at: f.int_or_null("heard_at")?.map(Time::from_micros),
        left: f.int("has_left")? != 0,
    };
    let vouched = f.bytes_or_null("vouched")?;
    let is_whole = match &vouched {
        None => said == SidecarSaid::default(),
        Some(sealed) => holds(sealer, (name, "vouched"), Some(sealed), said_digest(&said)),
    };
    Ok((said, is_whole))
}

fn read(sealer: &dyn Sealer, cells: Cells) -> Result<Read, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let sidecar = made(sealer, &mut f)?;
    let (said, is_said_whole) = said_in(sealer, &sidecar.name, &mut f)?;
    let (size, root) = (f.int_or_null("log_size")?, f.bytes_or_null("log_root")?);
    let anchored = f.bytes_or_null("anchored")?;
    let anchor = match (size, root.map(<[u8; 32]>::try_from)) {
        (Some(size), Some(Ok(root))) => Some((u64::try_from(size).unwrap_or(0), root)),
        _ => None,
    };
    let is_anchor_whole = match (size, anchor) {
        (None, None) => anchored.is_none(),
        (_, Some(anchor)) => {
            let digest = anchor_digest(anchor);
            holds(sealer, (&sidecar.name, "anchored"), anchored.as_deref(), digest)
        }
        _ => false,
    };
    Ok(Read {
        row: SidecarRow {
            sidecar,
            said,
            anchor,
        },
        is_said_whole,
        is_anchor_whole,
    })
}

/// Of a word that is not vouched for, only where it is said to have been heard is taken: somebody may have to wait.
fn from_row(sealer: &dyn Sealer, cells: Cells) -> Result<SidecarRow, StoreError> {
    let Read {
        mut row,
        is_said_whole,
        is_anchor_whole,
    } = read(sealer, cells)?;
    if !is_said_whole {
        row.said = SidecarSaid {
            node: row.said.node,
            heard_at: row.said.heard_at,
            ..SidecarSaid::default()
        };
    }
    if !is_anchor_whole {
        return Err(StoreError::RowCorrupt {
            table: TABLE,
            column: "anchored",
            row: row.sidecar.name.to_string(),
        });
    }
    Ok(row)
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, tenant, ", columns!(), " FROM sidecar"),
    verify: |mut cells, sealer| {
        let rest = cells.split_off(1);
        let of = Fields::of(TABLE, cells).word("tenant", |t| TenantId::parse(t).ok())?;
        let found = read(sealer, rest)?;
        let is_ours = of == installation();
        if found.is_said_whole && found.is_anchor_whole && is_ours {
            return Ok(());
        }
        let column = if is_ours { "vouched" } else { "tenant" };
        Err(StoreError::RowCorrupt {
            table: TABLE,
            column,
            row: found.row.sidecar.name.to_string(),
        })
    },
};

fn values(sealer: &dyn Sealer, sidecar: &Sidecar) -> Result<Vec<Arg>, StoreError> {
    let digest = digest_of(sidecar)?;
    let sealed = sealer.seal(&context(&sidecar.name, "sealed"), &digest.0)?;
    Ok(args![
        installation().as_str(),
        sidecar.name.as_str(),
        tenants_text(sidecar),
        seat_word(sidecar.seat),
        sidecar.key.map(|key| key.to_vec()),
        sidecar.vkey.clone(),
        sidecar.invite.map(|(digest, _)| digest.to_string()),
        sidecar.invite.map(|(_, until)| until.micros()),
        digest,
        sealed,
    ])
}

impl Store {
    /// Every sidecar, removed ones too, by name.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::RowCorrupt`] names a row that nobody here wrote so.
    pub async fn sidecars(&self) -> Result<Vec<SidecarRow>, StoreError> {
        let rows = self.quick_view().await?.fetch(EVERY, Vec::new()).await?;
        let sealer = &*self.ground().sealer;
        rows.into_iter().map(|cells| from_row(sealer, cells)).collect()
    }

    /// One sidecar.
    ///
    /// # Errors
    /// As [`Store::sidecars`].
    pub async fn sidecar(&self, name: &NodeName) -> Result<Option<SidecarRow>, StoreError> {
        let values = args![installation().as_str(), name.as_str()];
        let rows = self.quick_view().await?.fetch(LOOKUP, values).await?;
        let sealer = &*self.ground().sealer;
        rows.into_iter()
            .next()
            .map(|cells| from_row(sealer, cells))
            .transpose()
    }

    /// Writes what sidecars said, in one transaction beside the writer's: like a node's own beat it has no entry.
    /// What is older than what stands there is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_sidecars(&self, said: &[(NodeName, SidecarSaid)]) -> Result<(), StoreError> {
        if said.is_empty() {
            return Ok(());
        }
        let mut conn = self.engine().connect().await?;
        let written = self.say(&mut conn, said).await;
        conn.close().await;
        written.map_err(Failure::into_error)
    }

    async fn say(&self, conn: &mut Conn, said: &[(NodeName, SidecarSaid)]) -> Result<(), Failure> {
        let sealer = &*self.ground().sealer;
        let home = installation();
        conn.begin_quick().await?;
        conn.name_tenant(home.as_str()).await?;
        for (name, said) in said {
            let vouched = sealer.seal(&context(name, "vouched"), &said_digest(said).0);
            let values = args![
                home.as_str(),
                name.as_str(),
                signed(said.epoch.0),
                signed(said.position),
                signed(said.beat),
                said.node.as_ref().map(NodeName::as_str),
                said.heard_at.map(Time::micros),
                i64::from(said.left),
                vouched.map_err(|e| Failure::plain(e.into()))?,
            ];
            conn.execute(SAY, values).await?;
        }
        conn.execute("COMMIT", Vec::new()).await.map(drop)
    }

    /// Whether entries `from..to` tell of something that concerns one of `tenants`, or everybody.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn concerns(&self, tenants: &[TenantId], (from, to): (u64, u64)) -> Result<bool, StoreError> {
        let mut view = self.quick_view().await?;
        let home = installation();
        for tenant in tenants.iter().chain([&home]) {
            let values = args![tenant.as_str(), signed(from), signed(to)];
            if !view.fetch(TOUCHED, values).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Sidecars in a transaction of the installation. Each change has an entry that names it.
pub struct Sidecars<'a>(&'a mut Tx);

impl Tx {
    /// Sidecars.
    pub fn sidecar(&mut self) -> Sidecars<'_> {
        Sidecars(self)
    }
}

impl Sidecars<'_> {
    /// One sidecar.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, name: &NodeName) -> Result<Option<SidecarRow>, StoreError> {
        let view = self.0.view();
        view.require(&installation())?;
        let values = args![installation().as_str(), name.as_str()];
        let rows = view.fetch(LOOKUP, values).await?;
        let sealer = &*view.ground.sealer;
        rows.into_iter()
            .next()
            .map(|cells| from_row(sealer, cells))
            .transpose()
    }

    async fn change(
        &mut self,
        (command, reason): (&str, Option<&str>),
        before: &Sidecar,
        after: &Sidecar,
    ) -> Result<(), StoreError> {
        let ground = std::sync::Arc::clone(&self.0.view().ground);
        let mut values = values(&*ground.sealer, after)?;
        values.extend(args![digest_of(before)?]);
        if self.0.write(UPDATE, values).await? != 1 {
            return Err(StoreError::Conflict {
                table: TABLE,
                row: before.name.to_string(),
            });
        }
        let objects = vec![object(Some(before), Some(after))?];
        self.0.enter(command, reason, objects).await
    }

    /// Gives a name that never was one a place, for whoever shows the token of the digest in `invited`. A second
    /// invitation replaces the first. `false` when the name is taken, by a node or by a sidecar that joined.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn invite(&mut self, invited: &Sidecar) -> Result<bool, StoreError> {
        let before = self.lookup(&invited.name).await?;
        let nodes = self.0.view().fetch(NODE, args![invited.name.as_str()]).await?;
        if !nodes.is_empty() {
            return Ok(false);
        }
        let Some(before) = before else {
            let ground = std::sync::Arc::clone(&self.0.view().ground);
            if self.0.write(INSERT, values(&*ground.sealer, invited)?).await? != 1 {
                return Ok(false);
            }
            let objects = vec![object(None, Some(invited))?];
            self.0.enter("sidecar.invite", None, objects).await?;
            return Ok(true);
        };
        if before.sidecar.seat != Seat::Invited {
            return Ok(false);
        }
        self.change(("sidecar.invite", None), &before.sidecar, invited)
            .await?;
        Ok(true)
    }

    /// Uses an invitation up; `None` when there is none for this token, or its time is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn join(
        &mut self,
        name: &NodeName,
        token: &Digest,
        (key, vkey): ([u8; 32], &str),
    ) -> Result<Option<Sidecar>, StoreError> {
        let now = self.0.now();
        let found = self.lookup(name).await?.map(|row| row.sidecar);
        let open = found.filter(|s| {
            let fits = s
                .invite
                .is_some_and(|(digest, until)| digest == *token && until > now);
            s.seat == Seat::Invited && fits
        });
        let Some(before) = open else {
            return Ok(None);
        };
        let after = Sidecar {
            seat: Seat::Joined,
            key: Some(key),
            vkey: Some(vkey.to_owned()),
            invite: None,
            ..before.clone()
        };
        self.change(("sidecar.join", None), &before, &after).await?;
        Ok(Some(after))
    }

    /// From here on it is heard no more; `false` when it is unknown or removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn withdraw(&mut self, name: &NodeName, reason: &str) -> Result<bool, StoreError> {
        let found = self.lookup(name).await?.map(|row| row.sidecar);
        let Some(before) = found.filter(|s| s.seat != Seat::Removed) else {
            return Ok(false);
        };
        let after = Sidecar {
            seat: Seat::Removed,
            invite: None,
            ..before.clone()
        };
        self.change(("sidecar.remove", Some(reason)), &before, &after)
            .await?;
        Ok(true)
    }

    /// Anchors the decision log of a sidecar at a larger size than before; `false` when it is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn anchor(
        &mut self,
        name: &NodeName,
        (size, root): (u64, [u8; 32]),
    ) -> Result<bool, StoreError> {
        self.0.view().require(&installation())?;
        let ground = std::sync::Arc::clone(&self.0.view().ground);
        let digest = anchor_digest((size, root));
        let anchored = ground.sealer.seal(&context(name, "anchored"), &digest.0)?;
        let values = args![
            installation().as_str(),
            name.as_str(),
            signed(size),
            root.to_vec(),
            anchored
        ];
        if self.0.write_quietly(ANCHOR, values).await? != 1 {
            return Ok(false);
        }
        let detail = json!({ "sidecar": name.as_str(), "size": size, "root": hex(&root) });
        self.0.note("sidecar.anchor", detail).await?;
        Ok(true)
    }
}
