//! Where a browser may be sent back to: what was registered, byte for byte (RFC 9700 §4.1.3).

/// Bytes of a redirect URI.
const URI_MAX: usize = 512;
/// Hosts that are this machine, whose port the client cannot know beforehand (RFC 8252 §7.3).
const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// Why a redirect URI is not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedirectRule(pub &'static str);

/// Refuses a redirect URI that cannot be registered: two readers could read it in two ways, or whoever answers there is
/// not the client alone.
///
/// # Errors
/// [`RedirectRule`].
pub fn require_redirect(uri: &str) -> Result<(), RedirectRule> {
    let refused = |rule| Err(RedirectRule(rule));
    if uri.is_empty() || uri.len() > URI_MAX {
        return refused("it has to have 1 to 512 bytes");
    }
    let plain = |b: u8| {
        b.is_ascii_graphic()
            && !matches!(
                b,
                b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'\''
            )
    };
    if !uri.bytes().all(plain) {
        return refused("it holds a character that no URI has");
    }
    if uri.contains('#') {
        return refused("it has a fragment");
    }
    let Some((scheme, rest)) = uri.split_once(':') else {
        return refused("it has no scheme");
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme {
        return refused("its scheme is not of small letters, digits, `+`, `-` and `.`");
    }
    match scheme {
        "https" | "http" => {
            let host =
                authority(rest).ok_or(RedirectRule("it names no host, or a user, or an empty path part"))?;
            if scheme == "http" && !LOOPBACK.contains(&host) {
                return refused("plain http goes to this machine only: use https");
            }
            Ok(())
        }
        // RFC 8252 §7.1: a scheme of the client's own is a domain name of its maker, turned round.
        private if private.contains('.') && rest.starts_with('/') => Ok(()),
        _ => refused("its scheme is neither https, nor http on loopback, nor a reversed domain name"),
    }
}

/// The host of what stands behind the scheme, without its port.
fn authority(rest: &str) -> Option<&str> {
    let rest = rest.strip_prefix("//")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let (host, port) = split_port(authority);
    let named = host
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        && !host.starts_with('.')
        && !host.ends_with('.')
        && !host.is_empty();
    let segments = path.split('?').next().unwrap_or_default();
    let dotted = segments.split('/').any(|part| matches!(part, "." | ".."));
    ((named || LOOPBACK.contains(&host)) && port.is_none_or(is_port) && !dotted).then_some(host)
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_port(text: &str) -> bool {
    !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Whether `presented` is `registered`: the same bytes, but for the port of plain http on this machine.
#[must_use]
pub fn redirect_matches(registered: &str, presented: &str) -> bool {
    if registered == presented {
        return true;
    }
    match (portless(registered), portless(presented)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// Host and what follows it, of a loopback URI whose port, if any, is one.
fn portless(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let (host, port) = split_port(authority);
    (LOOPBACK.contains(&host) && port.is_none_or(is_port)).then_some((host, path))
}
