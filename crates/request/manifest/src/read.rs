//! From the text of a manifest to a [`Manifest`]: whatever is not understood is an error with its place.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use crate::document::{self as written, Document};
use crate::model::{Ask, Auth, ForEach, Manifest, Paging, Rate, Source};
use crate::path::Path;
use crate::rules;
use crate::text::Text;

/// Bytes of a manifest.
const MANIFEST_MAX: usize = 256 * 1024;
/// Sources that are asked for each item of another, in each other.
const FOR_EACH_MAX: usize = 3;
/// Requests in a second that no manifest may exceed.
const RATE_MAX: u32 = 1_000;

/// Why a manifest is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{file}` line {line}, `{member}`: {rule}")]
pub struct ManifestError {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: u64,
    /// The member, from the top: `sources.users.items`.
    pub member: String,
    /// What is wrong and what would be right.
    pub rule: String,
}

/// Where the reader is.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    file: &'a str,
    member: String,
}

type Read<T> = Result<T, ManifestError>;

impl Reader<'_> {
    pub(crate) fn at(&self, member: &str) -> Self {
        let member = match self.member.as_str() {
            "" => member.to_owned(),
            outer => format!("{outer}.{member}"),
        };
        Self { member, ..*self }
    }

    pub(crate) fn error<T>(&self, place: &Spanned<T>, rule: impl Into<String>) -> ManifestError {
        ManifestError {
            file: self.file.to_owned(),
            line: place.referenced.line(),
            member: self.member.clone(),
            rule: rule.into(),
        }
    }

    pub(crate) fn path(&self, text: &Spanned<String>) -> Read<Path> {
        Path::parse(&text.value).map_err(|rule| self.error(text, rule))
    }

    pub(crate) fn text(&self, text: &Spanned<String>) -> Read<Text> {
        Text::parse(&text.value).map_err(|rule| self.error(text, rule))
    }

    /// A text that looks into no item, with these parameters only.
    fn address(&self, text: &Spanned<String>, known: &BTreeSet<String>) -> Read<Text> {
        let parsed = self.text(text)?;
        if parsed.depth().is_some() {
            return Err(self.error(text, "a request is made before there is an item: parameters only"));
        }
        self.require_known(text, &parsed, known)?;
        Ok(parsed)
    }

    pub(crate) fn require_known<T>(
        &self,
        place: &Spanned<T>,
        text: &Text,
        known: &BTreeSet<String>,
    ) -> Read<()> {
        match text.parameters().find(|name| !known.contains(*name)) {
            Some(name) => Err(self.error(
                place,
                format!("parameter `{name}` is neither under `parameters` nor taken by `for_each`"),
            )),
            None => Ok(()),
        }
    }

    fn texts(
        &self,
        texts: &BTreeMap<String, Spanned<String>>,
        known: &BTreeSet<String>,
    ) -> Read<BTreeMap<String, Text>> {
        let read = |(name, text): (&String, &Spanned<String>)| {
            Ok((name.clone(), self.at(name).address(text, known)?))
        };
        texts.iter().map(read).collect()
    }

    /// A word of lower-case letters, digits and `extra`.
    pub(crate) fn require_word<T>(&self, place: &Spanned<T>, word: &str, extra: char) -> Read<()> {
        let is_word = word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.len() <= 64
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == extra);
        if is_word {
            return Ok(());
        }
        Err(self.error(
            place,
            format!("`{word}` is not a word of lower-case letters, digits and `{extra}`"),
        ))
    }

    fn require_https(&self, text: &Spanned<String>) -> Read<()> {
        if text.value.starts_with("https://") {
            return Ok(());
        }
        Err(self.error(text, format!("`{}` does not begin with https://", text.value)))
    }
}

impl Manifest {
    /// Reads a manifest. `file` names it in errors; `platform` is what it must be for.
    ///
    /// # Errors
    /// [`ManifestError`] for the first thing that is not understood.
    pub fn read(file: &str, platform: &str, text: &str) -> Result<Self, ManifestError> {
        let whole = |line, member: &str, rule: String| ManifestError {
            file: file.to_owned(),
            line,
            member: member.to_owned(),
            rule,
        };
        if text.len() > MANIFEST_MAX {
            return Err(whole(
                0,
                "",
                format!("a manifest has at most {MANIFEST_MAX} bytes"),
            ));
        }
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
            let (member, rule) = told(text, line, column, &error.without_snippet().to_string());
            whole(line, &member, rule)
        })?;
        let top = Reader {
            file,
            member: String::new(),
        };
        top.manifest(platform, &document)
    }
}

/// The member that an error of the YAML reader is at, and what is wrong with it.
fn told(text: &str, line: u64, column: u64, message: &str) -> (String, String) {
    let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let here: String = text
        .lines()
        .nth(index(line))
        .unwrap_or_default()
        .chars()
        .skip(index(column))
        .collect();
    let key = here.split_once(':').map(|(key, _)| key.trim()).filter(|key| {
        !key.is_empty()
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    });
    let quoted = message.split('`').nth(1);
    // Its own advice is for programs, and the line stands in front already.
    let message = message.split(" at line ").next().unwrap_or(message);
    let rule = match message.strip_prefix("duplicate mapping key") {
        Some(_) => "stands twice (duplicate)".to_owned(),
        None => message.to_owned(),
    };
    let is_unknown = rule.starts_with("unknown");
    let member = if is_unknown {
        quoted.or(key)
    } else {
        key.or(quoted)
    };
    (member.unwrap_or_default().to_owned(), rule)
}

impl Reader<'_> {
    fn manifest(&self, platform: &str, document: &Document) -> Read<Manifest> {
        let here = self.at("platform");
        here.require_word(&document.platform, &document.platform.value, '-')?;
        if document.platform.value != platform {
            let rule = format!("`{}` in the folder of `{platform}`", document.platform.value);
            return Err(here.error(&document.platform, rule));
        }
        self.at("reference").require_https(&document.reference)?;
        let mut known = BTreeSet::new();
        for (name, what) in &document.parameters {
            let here = self.at("parameters").at(name);
            here.require_word(what, name, '_')?;
            known.insert(name.clone());
        }
        for (member, list) in [("sees", &document.sees), ("blind", &document.blind)] {
            self.at(member).require_said(list)?;
        }
        let errors = document.errors.iter();
        let errors = errors
            .map(|path| self.at("errors").path(path))
            .collect::<Read<_>>()?;
        let mut sources = BTreeMap::new();
        for (name, source) in &document.sources {
            let here = self.at("sources").at(name);
            here.require_word(source, name, '-')?;
            sources.insert(name.clone(), here.source(document, name, source, &known)?);
        }
        Ok(Manifest {
            platform: document.platform.value.clone(),
            title: document.title.value.clone(),
            reference: document.reference.value.clone(),
            parameters: document
                .parameters
                .iter()
                .map(|(name, what)| (name.clone(), what.value.clone()))
                .collect(),
            auth: self.at("auth").auth(&document.auth, &known)?,
            headers: document.headers.clone(),
            errors,
            sees: document.sees.value.clone(),
            blind: document.blind.value.clone(),
            sources,
        })
    }

    fn require_said(&self, list: &Spanned<Vec<String>>) -> Read<()> {
        if list.value.is_empty() || list.value.iter().any(String::is_empty) {
            return Err(self.error(list, "say it in words: a list of sentences, none empty"));
        }
        Ok(())
    }

    fn auth(&self, auth: &Spanned<written::Auth>, known: &BTreeSet<String>) -> Read<Auth> {
        Ok(match &auth.value {
            written::Auth::AwsSigv4 => Auth::AwsSigv4,
            written::Auth::Bearer(bearer) => Auth::Bearer {
                what: bearer.what.clone(),
            },
            written::Auth::GoogleServiceAccount(google) => Auth::GoogleServiceAccount {
                scopes: google.scopes.clone(),
            },
            written::Auth::Header(header) => Auth::Header {
                name: header.name.clone(),
                prefix: header.prefix.clone().unwrap_or_default(),
                what: header.what.clone(),
            },
            written::Auth::OauthClient(client) => {
                let token_url = Text::parse(&client.token_url).map_err(|rule| self.error(auth, rule))?;
                self.require_known(auth, &token_url, known)?;
                if !client.token_url.starts_with("https://") {
                    return Err(self.error(auth, "`token_url` does not begin with https://"));
                }
                Auth::OauthClient {
                    token_url,
                    scopes: client.scopes.clone(),
                }
            }
        })
    }

    fn source(
        &self,
        document: &Document,
        name: &str,
        source: &Spanned<written::Source>,
        known: &BTreeSet<String>,
    ) -> Read<Source> {
        let place = source;
        let source = &source.value;
        let mut known = known.clone();
        let for_each = match &source.for_each {
            Some(each) => Some(self.at("for_each").for_each(document, name, each, &mut known)?),
            None => None,
        };
        self.at("permission").require_said(&source.permission)?;
        let here = self.at("items");
        let list = source.items.value.strip_suffix("[*]");
        let container = list.unwrap_or(&source.items.value);
        let rate = source.rate.as_ref().unwrap_or(&document.rate);
        if !(1..=RATE_MAX).contains(&rate.value.requests) || rate.value.seconds == 0 {
            let rule = format!("1 to {RATE_MAX} requests in at least one second");
            return Err(self.at("rate").error(rate, rule));
        }
        let is_bare = container == "$";
        if is_bare && list.is_none() {
            let rule = "the list in a page and then `[*]`, or the one object in it, so that a page without it is seen";
            return Err(here.error(&source.items, rule));
        }
        if is_bare && source.empty_page.is_some() {
            return Err(here.error(
                place,
                "`empty_page` has no meaning where the whole answer is the list",
            ));
        }
        Ok(Source {
            what: source.what.clone(),
            headers: source.headers.clone(),
            ask: self.at("ask").ask(document, source, &known)?,
            for_each,
            paging: self.at("paging").paging(&source.paging)?,
            rate: Rate {
                requests: rate.value.requests,
                seconds: rate.value.seconds,
            },
            permission: source.permission.value.clone(),
            container: Path::parse(container).map_err(|rule| here.error(&source.items, rule))?,
            items: here.path(&source.items)?,
            is_bare,
            is_single: list.is_none(),
            empty_page: source.empty_page.clone(),
            becomes: rules::becomes(self, &source.leaves_out, &source.becomes, &known, 0)?,
        })
    }

    fn for_each(
        &self,
        document: &Document,
        name: &str,
        each: &Spanned<written::ForEach>,
        known: &mut BTreeSet<String>,
    ) -> Read<ForEach> {
        let from = &each.value.source;
        self.inherit(document, name, from, known, 1)?;
        let mut take = BTreeMap::new();
        for (parameter, text) in &each.value.take {
            let here = self.at("take").at(parameter);
            here.require_word(text, parameter, '_')?;
            if !known.insert(parameter.clone()) {
                return Err(here.error(text, format!("`{parameter}` is a parameter already")));
            }
            take.insert(parameter.clone(), here.text(text)?);
        }
        Ok(ForEach {
            source: from.value.clone(),
            take,
        })
    }

    /// What the sources further out took is known here too.
    fn inherit(
        &self,
        document: &Document,
        name: &str,
        from: &Spanned<String>,
        known: &mut BTreeSet<String>,
        depth: usize,
    ) -> Read<()> {
        let here = self.at("source");
        let outer = document
            .sources
            .get(&from.value)
            .ok_or_else(|| here.error(from, format!("there is no source `{}`", from.value)))?;
        if from.value == name || depth > FOR_EACH_MAX {
            let rule = format!("a source inside itself, or more than {FOR_EACH_MAX} inside each other");
            return Err(here.error(from, rule));
        }
        if let Some(outer) = &outer.value.for_each {
            known.extend(outer.value.take.keys().cloned());
            self.inherit(document, name, &outer.value.source, known, depth + 1)?;
        }
        Ok(())
    }

    fn ask(&self, document: &Document, source: &written::Source, known: &BTreeSet<String>) -> Read<Ask> {
        let url = |path: &Spanned<String>| {
            let base = source.base.as_ref().or(document.base.as_ref());
            let base = base.ok_or_else(|| self.error(&source.ask, "needs `base` here or at the top"))?;
            self.at("base").require_https(base)?;
            if !path.value.starts_with('/') {
                return Err(self.at("path").error(path, "a path begins with `/`"));
            }
            self.at("base").address(base, known)?;
            self.at("path").address(path, known)?;
            let whole = format!("{}{}", base.value, path.value);
            Text::parse(&whole).map_err(|rule| self.error(path, rule))
        };
        Ok(match &source.ask.value {
            written::Ask::Aws(aws) => Ask::Aws {
                service: aws.service.clone(),
                operation: aws.operation.clone(),
                input: self.at("input").texts(&aws.input, known)?,
            },
            written::Ask::Get(get) => Ask::Get {
                url: url(&get.path)?,
                query: self.at("query").texts(&get.query, known)?,
            },
            written::Ask::Graphql(graphql) => Ask::Graphql {
                url: url(&graphql.path)?,
                query: graphql.query.clone(),
                variables: self.at("variables").texts(&graphql.variables, known)?,
            },
        })
    }

    fn paging(&self, paging: &Spanned<written::Paging>) -> Read<Paging> {
        Ok(match &paging.value {
            written::Paging::Cursor(cursor) => Paging::Cursor {
                from: self.at("from").path(&cursor.from)?,
                send: cursor.send.clone(),
                more: match &cursor.more {
                    Some(more) => Some(self.at("more").path(more)?),
                    None => None,
                },
            },
            written::Paging::Link => Paging::Link,
            written::Paging::NextUrl(next) => Paging::NextUrl {
                from: self.at("from").path(&next.from)?,
            },
            written::Paging::None => Paging::None,
            written::Paging::Page(page) if page.size == 0 => {
                return Err(self.at("size").error(paging, "a page has at least one item"));
            }
            written::Paging::Page(page) => Paging::Page {
                send: page.send.clone(),
                first: page.first,
                size: page.size,
            },
        })
    }
}
