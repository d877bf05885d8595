//! The leaf record: what every log entry looks like in bytes.
//!
//! ```text
//! {"at":1763750000000000,"commitment":"<64 hex>","epoch":7,"kind":"decision","node":"node-1",
//!  "state_pos":41,"tenant_ref":"tnt_…","tenant_seq":9,"v":1}
//! ```
//!
//! (on one line). This is JSON in canonical form (RFC 8785): members in this
//! order, no white space, integers only, no escapes. Because order and form
//! are fixed, encoding is a few copies and decoding one forward pass.
//!
//! The payload is not here. It is sealed beside the log under the tenant's
//! key, and `commitment` = HMAC-SHA-256(tenant log key, payload) binds it:
//! erasing the key erases the payload and leaves every proof valid. An
//! [`Opening`] discloses one payload so that anybody can verify it against its
//! leaf. It carries the tenant's log key, so a payload must be hard to guess
//! by itself (every payload has a random id in it): otherwise who holds one
//! opening could test guesses against the tenant's other commitments.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

/// Version of the leaf form.
pub const LEAF_VERSION: u64 = 1;

/// Longest leaf in bytes. What [`Leaf::encode_into`] writes is always shorter
/// than 1 KiB; the limit guards readers.
pub const LEAF_MAX: usize = 16 * 1024;

/// Longest `tenant_ref` and `node` in bytes.
pub const LABEL_MAX: usize = 128;

/// Longest kind in bytes.
pub const KIND_MAX: usize = 64;

/// Largest integer in a leaf: 2^53 - 1, the largest that RFC 8785 keeps exact.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// First `tenant_seq` of a tenant in a log. 0 is never used, so it can stand
/// for "nothing yet".
pub const TENANT_SEQ_FIRST: u64 = 1;

/// What an entry records: `decision`, `outcome`, `token.issue`, `state.<command>`.
///
/// Lower-case letters, digits, `.` and `-`, beginning with a letter, at most 64
/// bytes. Kinds are only ever added; one that is retired keeps its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind<'a>(&'a str);

impl<'a> Kind<'a> {
    /// A decision on a call.
    pub const DECISION: Kind<'static> = Kind("decision");
    /// What became of a permitted call.
    pub const OUTCOME: Kind<'static> = Kind("outcome");
    /// A token was issued or renewed.
    pub const TOKEN_ISSUE: Kind<'static> = Kind("token.issue");

    /// Takes the name of a kind.
    ///
    /// # Errors
    /// [`LeafError::Kind`] unless it has the form `[a-z][a-z0-9.-]{0,63}`.
    pub fn parse(kind: &'a str) -> Result<Self, LeafError> {
        if is_kind(kind.as_bytes()) {
            Ok(Self(kind))
        } else {
            Err(LeafError::Kind { kind: shorten(kind) })
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for Kind<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

/// One log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// When it was recorded, in microseconds since 1970-01-01T00:00:00Z.
    pub at: u64,
    /// HMAC-SHA-256 of the payload under the tenant's log key.
    pub commitment: [u8; 32],
    /// Revocation epoch it was taken at.
    pub epoch: u64,
    /// What it records.
    pub kind: Kind<'a>,
    /// The node that recorded it.
    pub node: &'a str,
    /// Position of the state log it was taken at (number of entries seen).
    pub state_pos: u64,
    /// The tenant, by a reference that outlives its name.
    pub tenant_ref: &'a str,
    /// Number of the entry within its tenant and log: 1, 2, 3 … without gaps.
    pub tenant_seq: u64,
}

/// A leaf cannot be written, or bytes are not a leaf in its one form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The commitment is not 64 lower-case hex digits.
    #[error("`commitment` at byte `{offset}` must be 64 lower-case hex digits")]
    Commitment {
        /// Where the value begins.
        offset: usize,
    },
    /// An integer is missing, has leading zeroes or is above 2^53 - 1.
    #[error("`{field}` must be an integer from 0 to 9007199254740991 without leading zeroes")]
    Integer {
        /// Name of the member.
        field: &'static str,
    },
    /// The kind has another form.
    #[error("`{kind}` cannot be a kind: expected `[a-z][a-z0-9.-]` and at most 64 bytes")]
    Kind {
        /// What was given, shortened.
        kind: String,
    },
    /// A label is empty, too long or has characters that are not allowed.
    #[error("`{field}` must be 1 to 128 printable ASCII characters without space, quote or backslash")]
    Label {
        /// Name of the member.
        field: &'static str,
    },
    /// The leaf is longer than 16 KiB.
    #[error("a leaf has at most 16384 bytes, found `{found}`")]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// Something else stands where the canonical form has this text: another
    /// member, another order, white space, a repeated member, or the end.
    #[error("leaf is not in canonical form at byte `{offset}`: expected `{expected}`")]
    Unexpected {
        /// Where in the bytes.
        offset: usize,
        /// What the form has there.
        expected: &'static str,
    },
}

const AT: &str = "{\"at\":";
const COMMITMENT: &str = ",\"commitment\":\"";
const EPOCH: &str = "\",\"epoch\":";
const KIND: &str = ",\"kind\":\"";
const NODE: &str = "\",\"node\":\"";
const STATE_POS: &str = "\",\"state_pos\":";
const TENANT_REF: &str = ",\"tenant_ref\":\"";
const TENANT_SEQ: &str = "\",\"tenant_seq\":";
const END: &str = ",\"v\":1}";

/// Bytes of a leaf without its variable parts, and room for these.
const LEAF_ROOM: usize = 320;

impl<'a> Leaf<'a> {
    /// Appends the canonical bytes of the leaf to `out`, and nothing on error.
    ///
    /// # Errors
    /// [`LeafError::Integer`] or [`LeafError::Label`] naming the member that
    /// cannot be written.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), LeafError> {
        let integers = [
            ("at", self.at),
            ("epoch", self.epoch),
            ("state_pos", self.state_pos),
            ("tenant_seq", self.tenant_seq),
        ];
        for (field, value) in integers {
            if value > INTEGER_MAX {
                return Err(LeafError::Integer { field });
            }
        }
        for (field, label) in [("node", self.node), ("tenant_ref", self.tenant_ref)] {
            if !is_label(label.as_bytes()) {
                return Err(LeafError::Label { field });
            }
        }
        out.reserve(LEAF_ROOM + self.node.len() + self.tenant_ref.len());
        out.extend_from_slice(AT.as_bytes());
        push_integer(out, self.at);
        out.extend_from_slice(COMMITMENT.as_bytes());
        push_hex(out, &self.commitment);
        out.extend_from_slice(EPOCH.as_bytes());
        push_integer(out, self.epoch);
        out.extend_from_slice(KIND.as_bytes());
        out.extend_from_slice(self.kind.0.as_bytes());
        out.extend_from_slice(NODE.as_bytes());
        out.extend_from_slice(self.node.as_bytes());
        out.extend_from_slice(STATE_POS.as_bytes());
        push_integer(out, self.state_pos);
        out.extend_from_slice(TENANT_REF.as_bytes());
        out.extend_from_slice(self.tenant_ref.as_bytes());
        out.extend_from_slice(TENANT_SEQ.as_bytes());
        push_integer(out, self.tenant_seq);
        out.extend_from_slice(END.as_bytes());
        Ok(())
    }

    /// The canonical bytes of the leaf.
    ///
    /// # Errors
    /// As [`Leaf::encode_into`].
    pub fn encode(&self) -> Result<Vec<u8>, LeafError> {
        let mut out = Vec::new();
        self.encode_into(&mut out)?;
        Ok(out)
    }

    /// Reads a leaf. Only the bytes that [`Leaf::encode_into`] writes are one.
    ///
    /// # Errors
    /// [`LeafError`] naming the byte or the member.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, LeafError> {
        let raw = RawLeaf::scan(bytes)?;
        let text = |field, label| std::str::from_utf8(label).map_err(|_| LeafError::Label { field });
        Ok(Self {
            at: raw.at,
            commitment: hex_bytes(raw.commitment),
            epoch: raw.epoch,
            kind: Kind(text("kind", raw.kind)?),
            node: text("node", raw.node)?,
            state_pos: raw.state_pos,
            tenant_ref: text("tenant_ref", raw.tenant_ref)?,
            tenant_seq: raw.tenant_seq,
        })
    }
}

/// A leaf that was verified to be in its one form, its texts still bytes. It is
/// what fsck reads: everything is checked, nothing is converted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawLeaf<'a> {
    pub(crate) at: u64,
    commitment: &'a [u8; 64],
    pub(crate) epoch: u64,
    kind: &'a [u8],
    node: &'a [u8],
    pub(crate) state_pos: u64,
    pub(crate) tenant_ref: &'a [u8],
    pub(crate) tenant_seq: u64,
}

impl<'a> RawLeaf<'a> {
    #[inline]
    pub(crate) fn scan(bytes: &'a [u8]) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_MAX {
            return Err(LeafError::TooLong { found: bytes.len() });
        }
        let mut scan = Scan {
            rest: bytes,
            length: bytes.len(),
        };
        scan.literal(AT)?;
        let at = scan.integer("at")?;
        scan.literal(COMMITMENT)?;
        let commitment = scan.commitment()?;
        scan.literal(EPOCH)?;
        let epoch = scan.integer("epoch")?;
        scan.literal(KIND)?;
        let kind = scan.text("kind")?;
        if !is_kind(kind) {
            return Err(LeafError::Kind {
                kind: shorten(&String::from_utf8_lossy(kind)),
            });
        }
        scan.literal(NODE)?;
        let node = scan.text("node")?;
        scan.literal(STATE_POS)?;
        let state_pos = scan.integer("state_pos")?;
        scan.literal(TENANT_REF)?;
        let tenant_ref = scan.text("tenant_ref")?;
        scan.literal(TENANT_SEQ)?;
        let tenant_seq = scan.integer("tenant_seq")?;
        scan.literal(END)?;
        if !scan.rest.is_empty() {
            return Err(LeafError::Unexpected {
                offset: scan.offset(),
                expected: "the end",
            });
        }
        Ok(Self {
            at,
            commitment,
            epoch,
            kind,
            node,
            state_pos,
            tenant_ref,
            tenant_seq,
        })
    }
}

/// A cursor over the fixed form.
struct Scan<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Scan<'a> {
    fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    #[inline(always)]
    fn literal(&mut self, expected: &'static str) -> Result<(), LeafError> {
        match self.rest.strip_prefix(expected.as_bytes()) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(LeafError::Unexpected {
                offset: self.offset(),
                expected,
            }),
        }
    }

    #[inline]
    fn integer(&mut self, field: &'static str) -> Result<u64, LeafError> {
        let mut value: u64 = 0;
        let mut digits = 0_usize;
        let mut rest = self.rest;
        if rest.first() != Some(&b'0') {
            while let Some((word, after)) = rest.split_first_chunk::<8>()
                && let Some(eight) = eight_digits(*word)
                && digits < 16
            {
                value = value * 100_000_000 + eight;
                digits += 8;
                rest = after;
            }
        }
        while let Some((byte, after)) = rest.split_first() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            // 16 digits are below 10^16, so this cannot overflow before the test.
            if digits == 16 || (digits == 1 && value == 0) {
                return Err(LeafError::Integer { field });
            }
            value = value * 10 + u64::from(digit);
            digits += 1;
            rest = after;
        }
        if digits == 0 || value > INTEGER_MAX {
            return Err(LeafError::Integer { field });
        }
        self.rest = rest;
        Ok(value)
    }

    /// The characters up to the closing quote, which stays.
    #[inline]
    fn text(&mut self, field: &'static str) -> Result<&'a [u8], LeafError> {
        let length = label_length(self.rest);
        match self.rest.split_at_checked(length) {
            Some((label, rest)) if rest.first() == Some(&b'"') && (1..=LABEL_MAX).contains(&length) => {
                self.rest = rest;
                Ok(label)
            }
            _ => Err(LeafError::Label { field }),
        }
    }

    #[inline]
    fn commitment(&mut self) -> Result<&'a [u8; 64], LeafError> {
        match self.rest.split_first_chunk::<64>() {
            Some((digits, rest)) if digits.iter().fold(true, |fits, digit| fits & is_hex(*digit)) => {
                self.rest = rest;
                Ok(digits)
            }
            _ => Err(LeafError::Commitment {
                offset: self.offset(),
            }),
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Number of bytes at the start that may stand in a label, up to one more than
/// its limit; eight bytes at a time.
#[inline]
fn label_length(bytes: &[u8]) -> usize {
    let window = bytes.get(..LABEL_MAX + 1).unwrap_or(bytes);
    let (words, rest) = window.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let stops = label_stops(u64::from_le_bytes(*word));
        if stops != 0 {
            return length + usize::try_from(stops.trailing_zeros() / 8).unwrap_or(0);
        }
        length += 8;
    }
    length + rest.iter().take_while(|byte| is_label_byte(**byte)).count()
}

/// Marks the bytes that may not stand in a label. The lowest mark is exact;
/// marks above it may be false, because a borrow can run into them.
#[inline]
fn label_stops(word: u64) -> u64 {
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let below_printable = word.wrapping_sub(ONES * u64::from(b'!')) & !word;
    let quote = is_zero(word ^ (ONES * u64::from(b'"')));
    let backslash = is_zero(word ^ (ONES * u64::from(b'\\')));
    let delete = is_zero(word ^ (ONES * 0x7f));
    (below_printable | quote | backslash | delete | word) & HIGHS
}

/// Value of eight decimal digits, or `None` where one byte is no digit.
#[inline]
fn eight_digits(word: [u8; 8]) -> Option<u64> {
    const SIXES: u64 = 0x0606_0606_0606_0606;
    const HIGH_HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const ZEROES: u64 = 0x3030_3030_3030_3030;
    let text = u64::from_le_bytes(word);
    // `0` to `9` are 0x30 to 0x39: the high half is 3, also six further on.
    let high = (text & HIGH_HALVES) | ((text.wrapping_add(SIXES) & HIGH_HALVES) >> 4);
    if high != ZEROES | (ZEROES >> 4) {
        return None;
    }
    // Neighbours are joined in three steps: digits, pairs, fours.
    let digits = text & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = digits.wrapping_mul((10 << 8) + 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul((100 << 16) + 1) >> 16 & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul((10_000 << 32) + 1) >> 32)
}

#[inline]
fn is_hex(digit: u8) -> bool {
    (digit.wrapping_sub(b'0') < 10) | (digit.wrapping_sub(b'a') < 6)
}

/// The bytes that 64 lower-case hex digits stand for, eight digits at a time.
fn hex_bytes(digits: &[u8; 64]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (four, eight) in bytes
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(digits.as_chunks::<8>().0)
    {
        let text = u64::from_le_bytes(*eight);
        // Letters have bit 6 set, and their low half is 1 to 6.
        let values = (text & (ONES * 0x0f)) + ((text >> 6) & ONES) * 9;
        let pairs = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
        let [a, b, c, d, ..] = (fours | fours >> 16).to_le_bytes();
        *four = [a, b, c, d];
    }
    bytes
}

#[inline]
fn hex_digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8; 32]) {
    let mut digits = [0; 64];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [hex_digit(byte >> 4), hex_digit(byte & 0x0f)];
    }
    out.extend_from_slice(&digits);
}

fn push_integer(out: &mut Vec<u8>, value: u64) {
    let mut digits = [b'0'; 20];
    let mut rest = value;
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Printable ASCII that JSON writes as it is.
#[inline]
fn is_label_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\'
}

fn is_label(label: &[u8]) -> bool {
    (1..=LABEL_MAX).contains(&label.len()) && label_length(label) == label.len()
}

#[inline]
fn is_kind(kind: &[u8]) -> bool {
    kind.len() <= KIND_MAX
        && kind.first().is_some_and(u8::is_ascii_lowercase)
        && kind
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
}

/// Hostile input goes into messages shortened.
fn shorten(text: &str) -> String {
    text.chars().take(KIND_MAX).flat_map(char::escape_debug).collect()
}

/// A tenant's log key, ready to commit: the HMAC state is computed once.
pub struct CommitmentKey(hmac::Key);

impl CommitmentKey {
    /// Takes the 32-byte log key of a tenant.
    #[must_use]
    pub fn new(tenant_log_key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, tenant_log_key))
    }

    /// HMAC-SHA-256 of `payload`.
    #[must_use]
    pub fn commitment(&self, payload: &[u8]) -> [u8; 32] {
        let mut commitment = [0; 32];
        commitment.copy_from_slice(hmac::sign(&self.0, payload).as_ref());
        commitment
    }
}

impl fmt::Debug for CommitmentKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CommitmentKey(..)")
    }
}

/// Commitment to `payload` under a tenant's log key; [`CommitmentKey`] for many.
#[must_use]
pub fn commitment(tenant_log_key: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    CommitmentKey::new(tenant_log_key).commitment(payload)
}

/// A payload disclosed together with what opens its commitment.
#[derive(Clone, PartialEq, Eq)]
pub struct Opening {
    /// Index of the leaf in its log.
    pub leaf_index: u64,
    /// The tenant's log key.
    pub key: [u8; 32],
    /// The payload in clear.
    pub payload: Vec<u8>,
}

/// An opening does not belong to its leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not the one entry `{leaf_index}` commits to")]
pub struct OpeningError {
    /// Index of the leaf.
    pub leaf_index: u64,
}

impl Opening {
    /// Verifies that the payload is the one the leaf commits to.
    ///
    /// # Errors
    /// [`OpeningError`] when it is not.
    pub fn verify(&self, leaf: &Leaf<'_>) -> Result<(), OpeningError> {
        verify_slices_are_equal(&commitment(&self.key, &self.payload), &leaf.commitment).map_err(|_| {
            OpeningError {
                leaf_index: self.leaf_index,
            }
        })
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "Opening(entry {}, {} bytes)",
            self.leaf_index,
            self.payload.len()
        )
    }
}
