//! Nodes: their words, the lead among them, invitations, and the keys they share.

use bailiwick_base::{Digest, Epoch, NodeName, Sealer, SharedKey, TenantId, Time};
use bailiwick_inventory::installation;
use bailiwick_node::{Lead, Standing, Word, Words};
use serde_json::json;

use crate::engine::{Conn, Failure};
use crate::error::StoreError;
use crate::row::{Cells, Fields, args, signed};
use crate::store::Store;
use crate::tx::{Source, Tx, View};
use crate::vouch;

const TABLE: &str = "node";
/// The only lease there is: who publishes the state log and looks after what is due.
const LEAD: &str = "lead";

const EVERY: &str =
    "SELECT node, fence, beat, epoch, lease_ms, standing, started_at, vkey, vouched FROM node ORDER BY node";
const LEADER: &str = "SELECT node, fence, term FROM lease WHERE name = 'lead'";
const BEAT: &str = "UPDATE node SET beat = $5, epoch = $1, lease_ms = $2, vouched = $6 \
                    WHERE node = $3 AND fence = $4 AND standing <> 'fenced' AND beat < $5";
const TAKE_FIRST: &str = "INSERT INTO lease (name, node, fence, expires_at, term) VALUES ($1, $2, $3, 0, 1) \
                          ON CONFLICT (name) DO NOTHING";
const TAKE_NEXT: &str =
    "UPDATE lease SET node = $2, fence = $3, term = term + 1 WHERE name = $1 AND term = $4";
const LEAVE: &str = "UPDATE node SET standing = 'left', vouched = $4 \
                     WHERE node = $1 AND fence = $2 AND beat = $3 AND standing IN ('draining', 'live')";
const INVITE: &str = "INSERT INTO node (node, fence, started_at, standing, invite, invite_until) \
                      VALUES ($1, 0, 0, 'invited', $2, $3) ON CONFLICT (node) DO UPDATE \
                      SET invite = excluded.invite, invite_until = excluded.invite_until \
                      WHERE node.standing = 'invited'";
const JOIN: &str = "UPDATE node SET standing = 'left', invite = NULL, invite_until = NULL \
                    WHERE node = $1 AND standing = 'invited' AND invite = $2 AND invite_until > $3";
const INVITED: &str =
    "SELECT node FROM node WHERE node = $1 AND standing = 'invited' AND invite = $2 AND invite_until > $3";
const STAND: &str = "UPDATE node SET standing = $2 WHERE node = $1 AND standing IN ('draining', 'live')";
/// The fence rises, so whatever runs under the name cannot write from here on.
const FENCE: &str =
    "UPDATE node SET standing = 'fenced', fence = fence + 1 WHERE node = $1 AND standing <> 'fenced'";
const READMIT: &str = "UPDATE node SET standing = 'left', epoch = 0, beat = $2, fence = $3, vouched = $4, lease_ms = $5 \
                       WHERE node = $1 AND standing = 'fenced' AND fence = $3 - 1";
const SHOW_KEY: &str = "UPDATE node SET vkey = $2 WHERE node = $1";

/// Whoever streams the log of the database. A role without rights of its own sees that they are there, not how they
/// follow: then every one counts unless the database waits for some.
const REPLICAS: &str = "SELECT count(*), CASE current_setting('synchronous_standby_names') WHEN '' THEN 0 ELSE 1 END::bigint \
                        FROM pg_stat_replication";

const KEYS: &str = "SELECT tenant, name, version, sealed FROM shared_key ORDER BY tenant, name";
const KEYS_OF: &str = "SELECT tenant, name, version, sealed FROM shared_key WHERE tenant = $1 ORDER BY name";
const PLACE: &str = "INSERT INTO shared_key (tenant, name, version, sealed) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (tenant, name) DO UPDATE SET version = excluded.version, sealed = excluded.sealed \
                     WHERE shared_key.version = excluded.version - 1";

const WORDS: [(Standing, &str); 5] = [
    (Standing::Draining, "draining"),
    (Standing::Fenced, "fenced"),
    (Standing::Invited, "invited"),
    (Standing::Left, "left"),
    (Standing::Live, "live"),
];

/// A node as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// What the others go by.
    pub word: Word,
    /// When it last started.
    pub started_at: Time,
    /// The verifier key of its decision log, once it ran.
    pub vkey: Option<String>,
}

/// The word for a standing, as stored and shown.
#[must_use]
pub fn standing_word(standing: Standing) -> &'static str {
    WORDS
        .iter()
        .find(|(s, _)| *s == standing)
        .map_or("", |(_, word)| word)
}

/// A row as far as it is vouched for.
pub(crate) fn from_row(sealer: &dyn Sealer, cells: Cells) -> Result<NodeRow, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let word = Word {
        node: f.word("node", |n| NodeName::parse(n).ok())?,
        fence: f.number("fence")?,
        beat: f.number("beat")?,
        epoch: Epoch(f.number("epoch")?),
        lease: std::time::Duration::from_millis(f.number("lease_ms")?),
        standing: f.word("standing", |s| {
            WORDS
                .iter()
                .find(|(_, word)| *word == s)
                .map(|(standing, _)| *standing)
        })?,
    };
    let mut row = NodeRow {
        word,
        started_at: f.time("started_at")?,
        vkey: f.text_or_null("vkey")?,
    };
    let vouched = f.text_or_null("vouched")?;
    row.word = vouch::believed(sealer, row.word, vouched.as_deref())?;
    Ok(row)
}

fn lead_from(rows: Vec<Cells>) -> Result<Option<Lead>, StoreError> {
    let Some(cells) = rows.into_iter().next() else {
        return Ok(None);
    };
    let mut f = Fields::of("lease", cells);
    Ok(Some(Lead {
        node: f.word("node", |n| NodeName::parse(n).ok())?,
        fence: f.number("fence")?,
        term: f.number("term")?,
    }))
}

fn key_from(cells: Cells) -> Result<SharedKey, StoreError> {
    let mut f = Fields::of("shared_key", cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    Ok(SharedKey {
        tenant: (tenant != installation()).then_some(tenant),
        name: f.text("name")?,
        version: f.number("version")?,
        sealed: f.bytes("sealed")?,
    })
}

/// Places keys in the transaction of a batch. `Ok(false)` when another node placed one of them first.
pub(crate) async fn place(conn: &mut Conn, keys: &[SharedKey]) -> Result<bool, Failure> {
    for key in keys {
        let tenant = key.tenant.clone().unwrap_or_else(installation);
        conn.name_tenant(tenant.as_str()).await?;
        let values = args![
            tenant.as_str(),
            key.name.as_str(),
            signed(key.version + 1),
            key.sealed.clone()
        ];
        if conn.execute(PLACE, values).await? != 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every shared key, on a connection that may read all rows.
pub(crate) async fn every_key(conn: &mut Conn) -> Result<Vec<SharedKey>, Failure> {
    let rows = conn.fetch(KEYS, Vec::new()).await?;
    let keys: Result<Vec<_>, _> = rows.into_iter().map(key_from).collect();
    keys.map_err(Failure::plain)
}

impl View {
    /// Keys of one tenant that nodes share.
    pub(crate) async fn keys_of(&mut self, tenant: &TenantId) -> Result<Vec<SharedKey>, StoreError> {
        let rows = self.fetch(KEYS_OF, args![tenant.as_str()]).await?;
        rows.into_iter().map(key_from).collect()
    }
}

/// How long connecting and beating may take each: a broken connection must not keep this node from the next one.
const BEAT_MAX: std::time::Duration = std::time::Duration::from_secs(2);

async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(BEAT_MAX, work).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::Unavailable {
            detail: "no answer to a beat within 2 s".to_owned(),
        }),
    }
}

impl Store {
    /// The fence of this start.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence_of_start()
    }

    /// Writes this node's word and reads everybody's in the same view; `None` when this node is fenced. Alone on
    /// its store a node has nobody to tell: nothing is written then.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn beat(&self, epoch: Epoch, lease: std::time::Duration) -> Result<Option<Words>, StoreError> {
        if !self.is_shared() {
            return self.words_alone(epoch, lease).await;
        }
        let mut beats = self.beats().lock().await;
        if beats.over {
            return Err(StoreError::Unavailable {
                detail: "this node has left".to_owned(),
            });
        }
        let mut conn = match beats.conn.take() {
            Some(conn) => conn,
            None => in_time(self.engine().connect()).await?,
        };
        beats.last += 1;
        let word = Word {
            node: self.name().clone(),
            fence: self.fence(),
            beat: beats.last,
            epoch,
            lease,
            standing: Standing::Live,
        };
        // Each step has its own time: a store that is slow to take a connection is heard on it nevertheless.
        let beating = async { Ok(self.beat_on(&mut conn, &word).await) };
        match in_time(beating).await? {
            Ok(words) => {
                beats.conn = Some(conn);
                Ok(words)
            }
            Err(failure) => Err(failure.into_error()),
        }
    }

    async fn beat_on(&self, conn: &mut Conn, word: &Word) -> Result<Option<Words>, Failure> {
        let sealer = &*self.ground().sealer;
        let code = vouch::code(sealer, word).map_err(|e| Failure::plain(e.into()))?;
        let ms = i64::try_from(word.lease.as_millis()).unwrap_or(i64::MAX);
        conn.begin_quick().await?;
        let (name, fence) = (word.node.as_str(), signed(word.fence));
        let values = args![signed(word.epoch.0), ms, name, fence, signed(word.beat), code];
        let written = conn.execute(BEAT, values).await?;
        let rows = conn.fetch(EVERY, Vec::new()).await?;
        let lead = conn.fetch(LEADER, Vec::new()).await?;
        conn.execute("COMMIT", Vec::new()).await?;
        if written != 1 {
            return Ok(None);
        }
        let nodes: Result<Vec<_>, _> = rows
            .into_iter()
            .map(|cells| Ok(from_row(sealer, cells)?.word))
            .collect();
        Ok(Some(Words {
            nodes: nodes.map_err(Failure::plain)?,
            lead: lead_from(lead).map_err(Failure::plain)?,
        }))
    }

    /// Alone, this node's word is what it says now, and no other row says anything.
    async fn words_alone(
        &self,
        epoch: Epoch,
        lease: std::time::Duration,
    ) -> Result<Option<Words>, StoreError> {
        let mut view = self.quick_view().await?;
        let rows = view.fetch(EVERY, Vec::new()).await?;
        let sealer = &*self.ground().sealer;
        let rows: Result<Vec<_>, _> = rows.into_iter().map(|cells| from_row(sealer, cells)).collect();
        let own = rows?.into_iter().find(|row| row.word.node == *self.name());
        let Some(mut word) = own.map(|row| row.word).filter(|word| word.fence == self.fence()) else {
            return Ok(None);
        };
        (word.epoch, word.lease) = (epoch, lease);
        Ok(Some(Words {
            nodes: vec![word],
            lead: lead_from(view.fetch(LEADER, Vec::new()).await?)?,
        }))
    }

    /// Takes the lead where the term is still `from` (0: nobody led yet); whether it was taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_lead(&self, from: u64) -> Result<bool, StoreError> {
        let mut conn = self.engine().connect().await?;
        let mut values = args![LEAD, self.name().as_str(), signed(self.fence())];
        let done = if from == 0 {
            conn.execute(TAKE_FIRST, values).await
        } else {
            values.extend(args![signed(from)]);
            conn.execute(TAKE_NEXT, values).await
        };
        conn.close().await;
        Ok(done.map_err(Failure::into_error)? == 1)
    }

    /// Says that this node stops answering, after it did.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn leave(&self) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        let mut beats = self.beats().lock().await;
        // A beat after it would be that of a node which answers.
        beats.over = true;
        let mut conn = self.engine().connect().await?;
        let done = self.leave_on(&mut conn, beats.last).await;
        conn.close().await;
        done
    }

    /// The last word of this node: as the one before, and that it left.
    async fn leave_on(&self, conn: &mut Conn, beat: u64) -> Result<(), StoreError> {
        let rows = conn.fetch(EVERY, Vec::new()).await.map_err(Failure::into_error)?;
        let sealer = &*self.ground().sealer;
        for cells in rows {
            let mut word = from_row(sealer, cells)?.word;
            if word.node == *self.name() && word.fence == self.fence() {
                word.standing = Standing::Left;
                let code = vouch::code(sealer, &word)?;
                let values = args![self.name().as_str(), signed(word.fence), signed(beat), code];
                conn.execute(LEAVE, values).await.map_err(Failure::into_error)?;
            }
        }
        Ok(())
    }

    /// Every node.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn nodes(&self) -> Result<(Vec<NodeRow>, Option<Lead>), StoreError> {
        let mut view = self.every().await?;
        let rows = view.fetch(EVERY, Vec::new()).await?;
        let sealer = &*self.ground().sealer;
        let rows: Result<Vec<_>, _> = rows.into_iter().map(|cells| from_row(sealer, cells)).collect();
        Ok((rows?, lead_from(view.fetch(LEADER, Vec::new()).await?)?))
    }

    /// Whether an invitation of this name is open for the token of this digest: anybody may ask, so it costs the writer
    /// nothing. Only [`Nodes::join`] uses it up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_invited(&self, node: &NodeName, token: &Digest, now: Time) -> Result<bool, StoreError> {
        let mut view = self.every().await?;
        let rows = view
            .fetch(INVITED, args![node.as_str(), token.to_string(), now])
            .await?;
        Ok(!rows.is_empty())
    }

    /// Every key that nodes share.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn shared_keys(&self) -> Result<Vec<SharedKey>, StoreError> {
        let rows = self.every().await?.fetch(KEYS, Vec::new()).await?;
        rows.into_iter().map(key_from).collect()
    }

    /// Replicas of the database that commits do not wait for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unsynchronised_replicas(&self) -> Result<u64, StoreError> {
        if !self.is_shared() {
            return Ok(0);
        }
        let rows = self.every().await?.fetch(REPLICAS, Vec::new()).await?;
        let mut f = Fields::of("pg_stat_replication", rows.into_iter().next().unwrap_or_default());
        let (all, waits) = (f.number("count")?, f.number("synchronous_standby_names")?);
        Ok(if waits == 0 { all } else { 0 })
    }

    /// Names the verifier key of this node's decision log for the others.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn show_log_key(&self, vkey: &str) -> Result<(), StoreError> {
        let mut conn = self.engine().connect().await?;
        let done = conn.execute(SHOW_KEY, args![self.name().as_str(), vkey]).await;
        conn.close().await;
        done.map(drop).map_err(Failure::into_error)
    }
}

/// Nodes in a transaction of the installation. Each change has an entry that names it.
pub struct Nodes<'a>(&'a mut Tx);

impl Tx {
    /// Nodes.
    pub fn node(&mut self) -> Nodes<'_> {
        Nodes(self)
    }
}

impl Nodes<'_> {
    async fn change(
        &mut self,
        node: &NodeName,
        (command, sql): (&str, &'static str),
        values: Vec<crate::row::Arg>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        self.0.view().require(&installation())?;
        if self.0.write_quietly(sql, values).await? != 1 {
            return Ok(false);
        }
        let detail = json!({ "node": node.as_str(), "reason": reason });
        self.0.note(command, detail).await?;
        Ok(true)
    }

    /// Gives a name that never ran a place, until `until`, to whoever shows the token of this digest. A second
    /// invitation replaces the first. `false` when the node exists.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn invite(&mut self, node: &NodeName, token: &Digest, until: Time) -> Result<bool, StoreError> {
        let values = args![node.as_str(), token.to_string(), until];
        self.change(node, ("node.invite", INVITE), values, "").await
    }

    /// Uses an invitation up; `false` when there is none for this token, or its time is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn join(&mut self, node: &NodeName, token: &Digest) -> Result<bool, StoreError> {
        let now = self.0.now();
        let values = args![node.as_str(), token.to_string(), now];
        self.change(node, ("node.join", JOIN), values, "").await
    }

    /// Drains a live node, or lets a drained one lead again; `false` when it is neither.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drain(&mut self, node: &NodeName, drained: bool, reason: &str) -> Result<bool, StoreError> {
        let standing = if drained {
            Standing::Draining
        } else {
            Standing::Live
        };
        let command = if drained { "node.drain" } else { "node.undrain" };
        let values = args![node.as_str(), standing_word(standing)];
        self.change(node, (command, STAND), values, reason).await
    }

    /// Fences a node: it can write nothing from here on, and answers nothing once it looks at its row or its word is
    /// over. `false` when it is unknown or fenced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fence(&mut self, node: &NodeName, reason: &str) -> Result<bool, StoreError> {
        self.change(node, ("node.fence", FENCE), args![node.as_str()], reason)
            .await
    }

    /// Lets a fenced node start again; `false` when it is not fenced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn readmit(&mut self, node: &NodeName, reason: &str) -> Result<bool, StoreError> {
        let rows = self.0.view().fetch(EVERY, Vec::new()).await?;
        let ground = std::sync::Arc::clone(&self.0.view().ground);
        for cells in rows {
            let mut word = from_row(&*ground.sealer, cells)?.word;
            if word.node == *node && word.standing == Standing::Fenced {
                (word.standing, word.epoch) = (Standing::Left, Epoch(0));
                (word.fence, word.beat) = (word.fence + 1, word.beat + 1);
                let code = vouch::code(&*ground.sealer, &word)?;
                let ms = i64::try_from(word.lease.as_millis()).unwrap_or(i64::MAX);
                let values = args![node.as_str(), signed(word.beat), signed(word.fence), code, ms];
                return self.change(node, ("node.readmit", READMIT), values, reason).await;
            }
        }
        Ok(false)
    }
}

/// A listener for hints that there is something new. A hint that is lost costs time, nothing else.
pub struct Hints(pub(crate) Option<crate::engine::Ear>);

impl Hints {
    /// Waits for the next hint; for ever where there are none.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(ear) => ear.next().await,
            None => std::future::pending().await,
        }
    }
}

impl Store {
    /// Hints from other nodes.
    pub async fn hints(&self) -> Hints {
        Hints(self.engine().ear().await)
    }
}
