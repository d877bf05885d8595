//! How long an answer may be kept (RFC 9111, as a private cache that holds one document per URL).

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, DATE, ETAG, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};

/// How long an answer is kept when it does not say.
const UNSTATED: Duration = Duration::from_secs(300);

/// The headers under which an answer is kept.
pub(crate) struct Terms(HeaderMap);

const KEPT: [HeaderName; 6] = [AGE, CACHE_CONTROL, DATE, ETAG, EXPIRES, LAST_MODIFIED];

impl Terms {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut kept = HeaderMap::new();
        for name in KEPT {
            for value in headers.get_all(&name) {
                kept.append(name.clone(), value.clone());
            }
        }
        Self(kept)
    }

    /// After an answer that nothing changed: what it says instead of what was said before, and the rest as before
    /// (RFC 9111 §4.3.4). Its age is its own: the answer it confirms is new again.
    pub(crate) fn updated_by(&self, mut newer: Self) -> Self {
        for name in KEPT {
            if name != AGE && !newer.0.contains_key(&name) {
                for value in self.0.get_all(&name) {
                    newer.0.append(name.clone(), value.clone());
                }
            }
        }
        newer
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&HeaderValue> {
        self.0.get(name)
    }

    pub(crate) fn kept_for(&self) -> Duration {
        of(&self.0)
    }
}

/// What an answer says about being kept.
fn of(headers: &HeaderMap) -> Duration {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let directives: Vec<String> = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|d| d.trim().to_ascii_lowercase())
        .collect();
    if directives
        .iter()
        .any(|d| d == "no-store" || d == "no-cache" || d.starts_with("no-cache="))
    {
        return Duration::ZERO;
    }
    let age = Duration::from_secs(text(AGE).and_then(|v| v.trim().parse().ok()).unwrap_or(0));
    // Two different values are a contradiction, and count as stale (RFC 9111 §4.2.1).
    let mut stated = directives.iter().filter_map(|d| d.strip_prefix("max-age="));
    if let Some(first) = stated.next() {
        if stated.any(|other| other != first) {
            return Duration::ZERO;
        }
        let seconds = first.trim_matches('"').parse().unwrap_or(0);
        return Duration::from_secs(seconds).saturating_sub(age);
    }
    match text(EXPIRES) {
        None => UNSTATED.saturating_sub(age),
        Some(expires) => {
            // A date that cannot be read lies in the past (RFC 9111 §5.3).
            let (at, from) = (instant(expires), text(DATE).and_then(instant));
            at.zip(from)
                .and_then(|(at, from)| u64::try_from(at.saturating_sub(from)).ok())
                .map_or(Duration::ZERO, |s| Duration::from_secs(s).saturating_sub(age))
        }
    }
}

/// An HTTP date in its one preferred form (RFC 9110 §5.6.7), in seconds.
pub(crate) fn instant(text: &str) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim());
    parsed.ok().map(|t| t.as_second())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderName, HeaderValue};

    fn kept(headers: &[(&str, &str)]) -> u64 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        super::of(&map).as_secs()
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_says() {
        assert_eq!(Duration::from_secs(kept(&[])), super::UNSTATED);
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let cases: [(&[(&str, &str)], u64); 12] = [
            (&[("cache-control", "max-age=60")], 60),
            (&[("cache-control", "public, MAX-AGE=60"), ("age", "20")], 40),
            (&[("cache-control", "max-age=60"), ("age", "90")], 0),
            (&[("cache-control", "max-age=60, no-cache")], 0),
            (
                &[("cache-control", "max-age=60"), ("cache-control", "no-store")],
                0,
            ),
            (
                &[("cache-control", "max-age=60"), ("cache-control", "max-age=90")],
                0,
            ),
            (&[("cache-control", "max-age=soon")], 0),
            (&[("cache-control", "max-age=-1")], 0),
            (&[date, ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], 60),
            (&[date, ("expires", "Sun, 06 Nov 1994 08:40:37 GMT")], 0),
            (&[date, ("expires", "0")], 0),
            (
                &[
                    date,
                    ("expires", "Sun, 06 Nov 1994 08:50:37 GMT"),
                    ("cache-control", "max-age=5"),
                ],
                5,
            ),
        ];
        for (headers, seconds) in cases {
            assert_eq!(kept(headers), seconds, "{headers:?}");
        }
    }
}
