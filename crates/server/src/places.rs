//! Places: how many connections there may be, in all and from one peer, with descriptors left for the rest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Listen;

/// Descriptors that no connection takes: store, logs, launcher, claim socket, and the kill that comes over it.
const RESERVE: usize = 64;

/// Which of the two limits refused a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    All,
    Peer,
}

impl Full {
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Peer => "peer",
        }
    }
}

/// The places of one listener.
pub(crate) struct Places {
    all_max: usize,
    peer_max: usize,
    taken: Mutex<Taken>,
    told: AtomicBool,
}

#[derive(Default)]
struct Taken {
    all: usize,
    peers: BTreeMap<IpAddr, usize>,
}

/// A connection's place; free again when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Places {
    pub(crate) fn new(config: &Listen) -> Arc<Self> {
        let all_max = config.connections_max.min(held_by(descriptors()));
        Arc::new(Self {
            all_max,
            // One address alone never holds everything.
            peer_max: config.connections_per_peer_max.min(all_max.div_ceil(2)),
            taken: Mutex::default(),
            told: AtomicBool::new(false),
        })
    }

    /// A place for a connection from `peer`.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Full> {
        let peer = network(peer);
        let taken = self.admit(peer);
        match taken {
            Ok(all) => {
                gauge(all);
                Ok(Place {
                    places: Arc::clone(self),
                    peer,
                })
            }
            Err(full) => {
                metrics::counter!("bailiwick_connections_refused_total", "limit" => full.as_str())
                    .increment(1);
                // Once until there is room again: a flood must not fill the log as well.
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        limit = full.as_str(),
                        %peer,
                        all_max = self.all_max,
                        peer_max = self.peer_max,
                        "connections are refused; a kill goes over the data folder's socket"
                    );
                }
                Err(full)
            }
        }
    }

    fn admit(&self, peer: IpAddr) -> Result<usize, Full> {
        let mut taken = self.lock();
        if taken.all >= self.all_max {
            return Err(Full::All);
        }
        let of_peer = taken.peers.entry(peer).or_default();
        if *of_peer >= self.peer_max {
            return Err(Full::Peer);
        }
        *of_peer += 1;
        taken.all += 1;
        Ok(taken.all)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(of_peer) = taken.peers.get_mut(&self.peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                taken.peers.remove(&self.peer);
            }
        }
        let all = taken.all;
        drop(taken);
        if all < self.places.all_max / 2 {
            self.places.told.store(false, Ordering::Relaxed);
        }
        gauge(all);
    }
}

fn gauge(all: usize) {
    metrics::gauge!("bailiwick_connections_open").set(u32::try_from(all).map_or(f64::MAX, f64::from));
}

/// One subscriber has a whole /64 of addresses.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// A connection may need a second descriptor, for its call's way to an upstream server.
fn held_by(descriptors: usize) -> usize {
    (descriptors.saturating_sub(RESERVE) / 2).max(1)
}

/// Descriptors of this process: the soft limit is raised to the hard one first.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => wanted.current,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it was");
            limit.current
        }
    };
    now.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}
