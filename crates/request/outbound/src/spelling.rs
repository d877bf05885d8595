//! How a secret may be written in what comes back.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// `part` as it is, in hexadecimal, percent-encoded (all of it, and as the usual encoders do), and in both
/// alphabets of Base64 at any offset, without the characters that its neighbours decide. Each once, in order.
#[must_use]
pub fn spellings(part: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![part.to_vec()];
    let hex = |upper: bool| {
        each(part, move |b| {
            if upper {
                format!("{b:02X}")
            } else {
                format!("{b:02x}")
            }
        })
    };
    out.extend([hex(false), hex(true)]);
    let percent = |b: u8, upper: bool| {
        if upper {
            format!("%{b:02X}")
        } else {
            format!("%{b:02x}")
        }
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    for upper in [false, true] {
        out.push(each(part, |b| percent(b, upper)));
        for kept in [&b""[..], b"*", b"/", b"~", b"/~", b"~!'()*", b"/~!'()*"] {
            out.push(each(part, |b| {
                if plain(b) || kept.contains(&b) {
                    char::from(b).to_string()
                } else {
                    percent(b, upper)
                }
            }));
        }
    }
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for before in 0_usize..3 {
            let shifted: Vec<u8> = std::iter::repeat_n(0, before)
                .chain(part.iter().copied())
                .collect();
            let text = engine.encode(&shifted);
            let first = before.saturating_mul(8).div_ceil(6);
            let last = shifted.len().saturating_mul(8) / 6;
            out.extend(text.as_bytes().get(first..last).map(<[u8]>::to_vec));
        }
    }
    out.sort();
    out.dedup();
    out
}

fn each(part: &[u8], write: impl Fn(u8) -> String) -> Vec<u8> {
    part.iter().map(|b| write(*b)).collect::<String>().into_bytes()
}
