//! The URL somebody gave, taken apart by one strict rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bailiwick_base::limits::shown;

/// Why an URL or an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The address is not public and no allowed range holds it.
    #[error("address {0} is not public: allow its range with `--allow-address`")]
    Address(IpAddr),
    /// The name has no address.
    #[error("name `{0}` has no address")]
    NoAddress(String),
    /// Plain HTTP without leave.
    #[error("url `{0}` is plain HTTP: use https, or give leave for plaintext")]
    Plaintext(String),
    /// Not an address range.
    #[error("range `{0}` is not of the form ADDRESS/BITS")]
    Range(String),
    /// Not an URL of the accepted form.
    #[error("url `{url}` is refused: {rule}")]
    Url {
        /// The text, cut and escaped.
        url: String,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// Where a connection goes, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether TLS is used.
    pub tls: bool,
    /// DNS name in lower case, or an address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Value of the `Host` header.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Endpoint {
    /// Parses an URL: `https` (or `http` with leave), no user part, no fragment, a plain host, visible ASCII.
    ///
    /// # Errors
    /// [`GuardError::Url`] or [`GuardError::Plaintext`].
    pub fn parse(url: &str, allow_plaintext: bool) -> Result<Self, GuardError> {
        let wrong = |rule| GuardError::Url {
            url: shown(url),
            rule,
        };
        if url.len() > 2_048 {
            return Err(wrong("it is longer than 2048 bytes"));
        }
        if url
            .bytes()
            .any(|b| !b.is_ascii_graphic() || b"\"<>\\^`{|}".contains(&b))
        {
            return Err(wrong("it has a character that must be escaped"));
        }
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(_)) if !allow_plaintext => return Err(GuardError::Plaintext(shown(url))),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(wrong("it does not begin with https://")),
        };
        if rest.contains('#') {
            return Err(wrong("it has a fragment"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(wrong("it has a user part"));
        }
        let (host, port) =
            split_authority(authority, tls).ok_or_else(|| wrong("its host or port is malformed"))?;
        let path = match path.as_bytes().first() {
            None => "/".to_owned(),
            Some(b'?') => format!("/{path}"),
            Some(_) => path.to_owned(),
        };
        if !plain_path(&path) {
            return Err(wrong(
                "its path has an empty or a dot segment, or a broken escape",
            ));
        }
        Ok(Self {
            tls,
            host,
            port,
            authority: authority.to_ascii_lowercase(),
            path,
        })
    }

    /// Refuses names that only a local network knows. Asked where no address range is allowed; with one,
    /// the resolved address alone decides.
    ///
    /// # Errors
    /// [`GuardError::Url`].
    pub fn require_public_name(&self) -> Result<(), GuardError> {
        if self.literal().is_some() {
            return Ok(());
        }
        let last = self.host.rsplit('.').next().unwrap_or_default();
        let local =
            !self.host.contains('.') || LOCAL_NAMES.contains(&last) || self.host.ends_with(".home.arpa");
        if local {
            let rule = "its name is one of a local network: allow its range with `--allow-address`";
            return Err(GuardError::Url {
                url: shown(&self.host),
                rule,
            });
        }
        Ok(())
    }

    /// The address, when the host is one.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Top-level names that are not delegated (RFC 6761, RFC 6762, RFC 8375, RFC 9476, and names of clusters).
const LOCAL_NAMES: [&str; 14] = [
    "alt",
    "arpa",
    "cluster",
    "corp",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "svc",
];

/// Dots, doubled slashes and escapes in the path would let two readers see two paths.
fn plain_path(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair = [bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')];
            if !pair.iter().all(u8::is_ascii_hexdigit) {
                return false;
            }
        }
    }
    !path.contains("//")
        && !path.split('/').any(|s| {
            matches!(
                s.to_ascii_lowercase().as_str(),
                "." | ".." | "%2e" | "%2e%2e" | ".%2e" | "%2e."
            )
        })
}

fn split_authority(authority: &str, tls: bool) -> Option<(String, u16)> {
    let default = if tls { 443 } else { 80 };
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port = if after.is_empty() {
            default
        } else {
            parse_port(after.strip_prefix(':')?)?
        };
        return Some((address.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (authority, default),
    };
    // A dot at the end names the root; the name is the same without it.
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let numeric = host
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().next().is_some_and(|b| b.is_ascii_digit()));
    // A host whose last label begins with a digit is an address; only the canonical spelling is taken.
    if numeric {
        let address: Ipv4Addr = host.parse().ok()?;
        return Some((address.to_string(), port));
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    (host.len() <= 253 && host.split('.').all(label)).then_some((host, port))
}

/// Ports of protocols that a message over HTTP could be smuggled into.
const OTHERS: [u16; 14] = [21, 22, 23, 25, 53, 110, 135, 139, 143, 445, 465, 587, 3389, 6379];

fn parse_port(text: &str) -> Option<u16> {
    let digits =
        (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|port| !OTHERS.contains(port))
}
