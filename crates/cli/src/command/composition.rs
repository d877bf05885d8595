//! What an identity is made of: read here, and only digests leave.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bailiwick_base::{Digest, Sha256};
use bailiwick_wire::{Composed, Composition};

use crate::args::Parts;
use crate::output::Failure;

pub(crate) fn digests(parts: &Parts) -> Result<Composition, Failure> {
    let of_file = |path: &Option<PathBuf>| path.as_deref().map(digest).transpose();
    let code = match parts.code.as_slice() {
        [] => None,
        [one] => Some(digest(one)?),
        several => Some(manifest(several)?),
    };
    let text = |digest: Digest| digest.to_base64url();
    Ok(Composition {
        code: code.map(text),
        model: parts.model.as_ref().map(|m| text(Digest::of(m.as_bytes()))),
        prompt: of_file(&parts.prompt)?.map(text),
        tools: of_file(&parts.tools)?.map(text),
    })
}

/// A pair for each part, the digest over all of them first.
pub(crate) fn pairs(composed: &Composed) -> Vec<(&'static str, String)> {
    let parts = [
        ("code", &composed.parts.code),
        ("model", &composed.parts.model),
        ("prompt", &composed.parts.prompt),
        ("tools", &composed.parts.tools),
    ];
    let shown = parts
        .into_iter()
        .filter_map(|(name, digest)| Some((name, digest.clone()?)));
    let whole = format!("{} since {}", composed.digest, composed.since);
    std::iter::once(("composition", whole)).chain(shown).collect()
}

fn digest(path: &Path) -> Result<Digest, Failure> {
    let failed = |error: std::io::Error| Failure::io("read", path, &error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let (mut sha, mut piece) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut piece).map_err(failed)?;
        match piece.get(..read) {
            Some([]) | None => return Ok(sha.finish()),
            Some(bytes) => sha.update(bytes),
        }
    }
}

/// The lines of `sha256sum`, in the byte order of names.
fn manifest(files: &[PathBuf]) -> Result<Digest, Failure> {
    let mut lines = BTreeMap::new();
    for path in files {
        let shown = path.display();
        let name = path.to_str().filter(|name| !name.contains(['\n', '\r', '\\']));
        let name = name.ok_or_else(|| Failure::usage(format!("`{shown}` is not a plain file name")))?;
        if lines.insert(name, digest(path)?).is_some() {
            return Err(Failure::usage(format!("--code `{shown}` is given twice")));
        }
    }
    let mut sha = Sha256::new();
    for (name, digest) in lines {
        sha.update(format!("{digest}  {name}\n").as_bytes());
    }
    Ok(sha.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(folder: &Path, code: &[&str]) -> Parts {
        Parts {
            model: Some("claimant-3 2026-10-01".to_owned()),
            prompt: Some(folder.join("a")),
            tools: None,
            code: code.iter().map(|name| folder.join(name)).collect(),
        }
    }

    #[test]
    fn parts_are_digested_here_and_the_order_of_files_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), b"one").unwrap();
        std::fs::write(folder.path().join("b"), vec![7; 200_000]).unwrap();
        let of = |code: &[&str]| digests(&parts(folder.path(), code)).unwrap_or_default();
        let one = of(&["b"]);
        assert_eq!(one.prompt, Some(Digest::of(b"one").to_base64url()));
        assert_eq!(
            one.model,
            Some(Digest::of(b"claimant-3 2026-10-01").to_base64url())
        );
        assert_eq!(
            (one.tools, one.code),
            (None, Some(Digest::of(&[7; 200_000]).to_base64url()))
        );
        assert_eq!(of(&["a", "b"]), of(&["b", "a"]));
        assert!(digests(&parts(folder.path(), &["a", "a"])).is_err());
        assert!(digests(&parts(folder.path(), &["gone"])).is_err());
        // As `sha256sum a b | sha256sum` in the folder of those files.
        let lines = format!(
            "{}  {}\n{}  {}\n",
            Digest::of(b"one"),
            folder.path().join("a").display(),
            Digest::of(&[7; 200_000]),
            folder.path().join("b").display(),
        );
        assert_eq!(
            of(&["a", "b"]).code,
            Some(Digest::of(lines.as_bytes()).to_base64url())
        );
    }
}
