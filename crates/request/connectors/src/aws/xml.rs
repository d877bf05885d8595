//! The little of XML that the query protocol answers with: elements and text, bounded; no document type.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Elements inside each other.
const DEPTH_MAX: usize = 32;
/// Elements of one answer.
const ELEMENTS_MAX: usize = 10_000;

/// An element without its attributes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Parses a document; nothing when it is not of this form.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(bytes).ok()?);
        reader.config_mut().check_end_names = true;
        let mut open = vec![Self::default()];
        for _ in 0..ELEMENTS_MAX * 4 {
            match reader.read_event().ok()? {
                Event::Start(start) if open.len() <= DEPTH_MAX => open.push(Self {
                    name: start.local_name().as_ref().to_owned(),
                    ..Self::default()
                }),
                Event::Empty(start) => open.last_mut()?.children.push(Self {
                    name: start.local_name().as_ref().to_owned(),
                    ..Self::default()
                }),
                Event::End(_) => {
                    let done = open.pop()?;
                    open.last_mut()?.children.push(done);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::CData(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::GeneralRef(named) => open.last_mut()?.text.push(referred(&named)?),
                Event::Comment(_) | Event::Decl(_) => {}
                Event::Eof if open.len() == 1 => return open.pop()?.children.into_iter().next(),
                _ => return None,
            }
        }
        None
    }

    /// The first element with this name, at any depth.
    pub(super) fn find(&self, name: &str) -> Option<&Self> {
        if self.name == name {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(name))
    }

    /// The text of the first element with this name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.find(name).map(|found| found.text.trim())
    }

    /// The elements `member` of a list.
    pub(super) fn members(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(|child| child.name == "member")
    }
}

fn referred(named: &quick_xml::events::BytesRef<'_>) -> Option<char> {
    if let Some(c) = named.resolve_char_ref().ok()? {
        return Some(c);
    }
    match named.xml10_content().as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_what_could_grow_or_fetch_is_refused() {
        let text = r#"<?xml version="1.0"?><R xmlns="https://iam.amazonaws.com/"><L><member><Id>A&amp;1</Id></member>
            <member><Id>B&#x41;</Id><Gone/></member></L></R>"#;
        let read = Element::parse(text.as_bytes()).unwrap();
        let ids: Vec<_> = read
            .find("L")
            .unwrap()
            .members()
            .map(|m| m.text("Id").unwrap())
            .collect();
        assert_eq!(ids, ["A&1", "BA"]);
        assert_eq!(read.text("Gone"), Some(""));
        for hostile in [
            "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><R>&a;</R>".to_owned(),
            "<R>&a;</R>".to_owned(),
            "<R><L></R></L>".to_owned(),
            "<R>".to_owned(),
            "".to_owned(),
            "<R>".repeat(100) + &"</R>".repeat(100),
            "<R>".to_owned() + &"<a/>".repeat(100_000) + "</R>",
        ] {
            assert_eq!(
                Element::parse(hostile.as_bytes()),
                None,
                "{}",
                hostile.get(..40).unwrap_or(&hostile)
            );
        }
    }
}
