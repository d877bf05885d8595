//! What is known of a kind of issuer: which claims stay with one workload for ever, and which may be given again.

use std::fmt;

/// How workloads of an issuer are attested. One module of `request/attest` each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// AWS IAM, by a signed request to STS.
    Aws,
    /// AWS IAM, by a token of STS.
    AwsWebIdentity,
    /// Microsoft Entra ID.
    Azure,
    /// Google Cloud service accounts.
    Gcp,
    /// Any `OpenID` issuer.
    GenericOidc,
    /// GitHub Actions.
    Github,
    /// GitLab CI/CD.
    Gitlab,
    /// Identity assertion authorization grants (ID-JAG).
    IdJag,
    /// Projected tokens of Kubernetes service accounts.
    Kubernetes,
    /// SPIFFE JWT-SVID.
    SpiffeJwt,
    /// A process of this machine at the socket of the workload API.
    UnixPeer,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Aws,
        Self::AwsWebIdentity,
        Self::Azure,
        Self::Gcp,
        Self::GenericOidc,
        Self::Github,
        Self::Gitlab,
        Self::IdJag,
        Self::Kubernetes,
        Self::SpiffeJwt,
        Self::UnixPeer,
    ];

    /// The name in commands, files and rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsWebIdentity => "aws-web-identity",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::GenericOidc => "generic-oidc",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::IdJag => "id-jag",
            Self::Kubernetes => "kubernetes",
            Self::SpiffeJwt => "spiffe-jwt",
            Self::UnixPeer => "unix-peer",
        }
    }

    /// Parses the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an attribute is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeKind {
    /// Narrows what an id pins: a branch, an event, an instance. Alone it says nothing about who.
    Context,
    /// Given once and never again.
    Id,
    /// May belong to somebody else tomorrow. Never matched on.
    Name,
}

/// How the text of an attribute has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeForm {
    /// Decimal digits, at most 32.
    Digits,
    /// The ARN of a role or a user of AWS IAM.
    IamArn,
    /// A SPIFFE ID.
    Spiffe,
    /// Visible text.
    Text,
    /// A UUID in lower case with dashes.
    Uuid,
}

impl AttributeForm {
    /// Whether `text` has this form.
    #[must_use]
    pub fn fits(self, text: &str) -> bool {
        match self {
            Self::Digits => (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()),
            Self::IamArn => is_iam_arn(text),
            Self::Spiffe => is_spiffe_id(text),
            Self::Text => {
                (1..=1_024).contains(&text.len())
                    && bailiwick_base::limits::can_be_seen(text)
                    && !text.chars().any(char::is_control)
            }
            Self::Uuid => {
                text.len() == 36
                    && text.bytes().enumerate().all(|(at, b)| match at {
                        8 | 13 | 18 | 23 => b == b'-',
                        _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
                    })
            }
        }
    }
}

/// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME` or `…:user/…`; no root, and no session of somebody.
fn is_iam_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, principal] = parts.as_slice() else {
        return false;
    };
    let name = principal
        .strip_prefix("role/")
        .or_else(|| principal.strip_prefix("user/"));
    let in_name = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_/-".contains(&b);
    text.len() <= 1_024
        && matches!(*partition, "aws" | "aws-cn" | "aws-us-gov")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && name.is_some_and(|name| {
            name.bytes().all(in_name) && name.split('/').all(|segment| !segment.is_empty())
        })
}

/// SPIFFE-ID §2: a trust domain of `a-z0-9.-_`, and at least one path segment without dots alone.
fn is_spiffe_id(text: &str) -> bool {
    let Some((domain, path)) = text
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let in_segment = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() <= 2_048
        && (1..=255).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && path
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_segment))
}

/// One attribute and the claim it is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name in trust rules.
    pub name: String,
    /// Members to walk down from the claims.
    pub claim: Vec<String>,
    /// What it is good for.
    pub kind: AttributeKind,
    /// How it has to look.
    pub form: AttributeForm,
    /// Whether a token may lack it.
    pub optional: bool,
}

/// Values of a claim with which no token is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedClaim {
    /// Members to walk down from the claims.
    pub claim: Vec<String>,
    /// The values.
    pub values: Vec<String>,
}

/// What is known of the issuers of one method. Content, not code: `content/attestors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestor {
    /// Which.
    pub method: Method,
    /// The issuer that everybody uses; others of the same kind may be named instead.
    pub issuer: Option<String>,
    /// What the issuers of a vendor look like where each customer has one: `*` stands for one or more characters
    /// but `/`.
    pub issuers_like: Vec<String>,
    /// Attributes that divide a shared issuer among its customers; empty when an issuer has one customer.
    pub realm: Vec<String>,
    /// Attributes that every trust rule has to pin. Ids, all of them.
    pub pins: Vec<String>,
    /// Whether a token is taken once.
    pub single_use: bool,
    /// Whether a token that has a `jti` is taken once, although not every token of this kind has one.
    pub single_use_if_named: bool,
    /// The longest life of a token, in seconds.
    pub lifetime_max_s: u64,
    /// What is refused whatever a rule says.
    pub refused: Vec<RefusedClaim>,
    /// What is read from a token.
    pub attributes: Vec<Attribute>,
}

impl Attestor {
    /// An attribute by name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// Whether the vendor itself is this issuer, for all of its customers or for one.
    #[must_use]
    pub fn is_vendor(&self, url: &str) -> bool {
        let bare = |url: &str| url.trim_end_matches('/').to_ascii_lowercase();
        let url = bare(url);
        self.issuer.as_deref().map(bare).as_ref() == Some(&url)
            || self.issuers_like.iter().any(|pattern| is_like(pattern, &url))
    }
}

/// Whether `text` is what `pattern` shows; `*` stands for one or more characters but `/`.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(before) else {
        return false;
    };
    let reach = rest.find('/').unwrap_or(rest.len());
    (1..=reach)
        .filter_map(|at| rest.get(at..))
        .any(|rest| is_like(after, rest))
}
