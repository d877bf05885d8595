//! The one error type of the automation: a sentence for a person at a terminal.
use std::fmt;
use std::path::Path;

pub type Outcome<T> = Result<T, Fail>;

#[derive(Debug)]
pub enum Fail {
    /// Something broke; the sentence names it.
    Broken(String),
    /// A tool that this machine lacks. A test lane turns it into `SKIPPED`, or into a failure under CI.
    Missing(String),
    /// The command line was wrong.
    Usage(String),
}

impl Fail {
    pub fn broken(message: impl Into<String>) -> Self {
        Fail::Broken(message.into())
    }

    pub fn missing(message: impl Into<String>) -> Self {
        Fail::Missing(message.into())
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Fail::Usage(message.into())
    }

    /// The same failure for a second reader.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Fail::Broken(message) => Fail::Broken(message.clone()),
            Fail::Missing(message) => Fail::Missing(message.clone()),
            Fail::Usage(message) => Fail::Usage(message.clone()),
        }
    }

    pub fn io(action: &str, path: &Path, error: &std::io::Error) -> Self {
        Fail::Broken(format!("cannot {action} `{}`: {error}", path.display()))
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fail::Broken(message) | Fail::Missing(message) | Fail::Usage(message) => out.write_str(message),
        }
    }
}

impl std::error::Error for Fail {}
