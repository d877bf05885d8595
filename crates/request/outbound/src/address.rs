//! Which addresses may be connected to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bailiwick_base::limits::shown;

use crate::endpoint::{Endpoint, GuardError};

/// An address range in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    base: IpAddr,
    bits: u8,
}

impl AddressRange {
    /// Parses `ADDRESS/BITS`, or one address.
    ///
    /// # Errors
    /// [`GuardError::Range`].
    pub fn parse(text: &str) -> Result<Self, GuardError> {
        let wrong = || GuardError::Range(shown(text));
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|n: &u8| *n <= most).ok_or_else(wrong)?,
            None => most,
        };
        Ok(Self { base, bits })
    }

    /// Whether `address` lies in the range.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.base, plain(address)) {
            (IpAddr::V4(base), IpAddr::V4(it)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                base.to_bits() & mask == it.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(it)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                base.to_bits() & mask == it.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// An IPv4 address that was written as an IPv6 one is judged as what it is.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether an address is on the public Internet (IANA special-purpose registries, as of 2026).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Only 2000::/3 is assigned for the public; inside it, the ranges that carry or translate other addresses
    // are closed too, because they could lead to one that is not public.
    let [first, second, ..] = address.segments();
    let global = (0x2000..=0x3fff).contains(&first);
    let special = match first {
        0x2001 => second < 0x0200 || second == 0x0db8,
        0x2002 => true,
        0x2620 => second == 0x004f,
        0x3fff => second < 0x1000,
        _ => false,
    };
    global && !special
}

/// What one destination is allowed beyond the public Internet; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRule {
    ranges: Vec<AddressRange>,
}

impl AddressRule {
    /// Public addresses, and these ranges.
    #[must_use]
    pub const fn allowing(ranges: Vec<AddressRange>) -> Self {
        Self { ranges }
    }

    /// Public addresses, and these ranges in CIDR form.
    ///
    /// # Errors
    /// [`GuardError::Range`].
    pub fn parse(ranges: &[String]) -> Result<Self, GuardError> {
        let ranges = ranges.iter().map(|range| AddressRange::parse(range));
        Ok(Self::allowing(ranges.collect::<Result<_, _>>()?))
    }

    /// Refuses what its text alone gives away: an address out of bounds, a name of a local network where no range
    /// is allowed. Nothing is resolved.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn require_endpoint(&self, endpoint: &Endpoint) -> Result<(), GuardError> {
        match endpoint.literal() {
            Some(address) => self.require(address),
            None if self.ranges.is_empty() => endpoint.require_public_name(),
            None => Ok(()),
        }
    }

    /// Refuses an address that is neither public nor allowed.
    ///
    /// # Errors
    /// [`GuardError::Address`].
    pub fn require(&self, address: IpAddr) -> Result<(), GuardError> {
        if is_public(address) || self.ranges.iter().any(|range| range.holds(address)) {
            return Ok(());
        }
        Err(GuardError::Address(plain(address)))
    }
}
