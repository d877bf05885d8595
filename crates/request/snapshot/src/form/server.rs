//! An upstream server and the pins of its tools.

use bailiwick_base::{Digest, ServerName, Time, ToolName};
use bailiwick_inventory::{Connection, PinState, ToolPin, UpstreamServer};
use serde::{Deserialize, Serialize};

use super::{Form, id, id_text, read, tenant, text_of, word};
use crate::error::BodyError;

/// An upstream server. Of its credential only the id is here.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerForm {
    tenant: String,
    name: String,
    identity: String,
    connection: ConnectionForm,
    credential: Option<String>,
    pins: Vec<PinForm>,
    created_at: i64,
}

/// How it is reached.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConnectionForm {
    Destination(DestinationForm),
    Exec(ExecForm),
    Http(HttpForm),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationForm {
    url: String,
    allow_addresses: Vec<String>,
    allow_plaintext: bool,
    header: Option<String>,
    tunnel: bool,
    ca: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecForm {
    program: String,
    args: Vec<String>,
    digests: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpForm {
    url: String,
    allow_addresses: Vec<String>,
    allow_plaintext: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinForm {
    name: String,
    digest: String,
    definition: String,
    state: String,
}

impl Form<UpstreamServer> for ServerForm {
    fn of(server: &UpstreamServer) -> Result<Self, BodyError> {
        let pin = |pin: &ToolPin| -> Result<PinForm, BodyError> {
            Ok(PinForm {
                name: pin.name.to_string(),
                digest: pin.digest.to_string(),
                definition: text_of("server/pins/definition", &pin.definition)?,
                state: pin.state.as_str().to_owned(),
            })
        };
        let credential = server.credential.as_ref();
        Ok(Self {
            tenant: server.tenant.to_string(),
            name: server.name.to_string(),
            identity: id_text("server/identity", &server.tenant, &server.identity)?,
            connection: ConnectionForm::of(&server.connection),
            credential: credential
                .map(|id| id_text("server/credential", &server.tenant, id))
                .transpose()?,
            pins: server.pins.iter().map(pin).collect::<Result<_, _>>()?,
            created_at: server.created_at.micros(),
        })
    }
}

impl ServerForm {
    pub(super) fn read(self) -> Result<UpstreamServer, BodyError> {
        let tenant = tenant("server/tenant", &self.tenant)?;
        let credential = self
            .credential
            .as_deref()
            .map(|text| id("server/credential", &tenant, text));
        Ok(UpstreamServer {
            name: read("server/name", ServerName::parse(&self.name))?,
            identity: id("server/identity", &tenant, &self.identity)?,
            connection: self.connection.read()?,
            credential: credential.transpose()?,
            pins: self
                .pins
                .into_iter()
                .map(PinForm::read)
                .collect::<Result<_, _>>()?,
            created_at: Time::from_micros(self.created_at),
            tenant,
        })
    }
}

impl PinForm {
    fn read(self) -> Result<ToolPin, BodyError> {
        Ok(ToolPin {
            name: read("server/pins/name", ToolName::parse(&self.name))?,
            digest: word("server/pins/digest", &self.digest, Digest::from_hex(&self.digest))?,
            definition: self.definition.into_bytes(),
            state: word("server/pins/state", &self.state, PinState::parse(&self.state))?,
        })
    }
}

impl ConnectionForm {
    fn of(connection: &Connection) -> Self {
        match connection {
            Connection::Destination {
                url,
                allow_addresses,
                allow_plaintext,
                header,
                tunnel,
                ca,
            } => Self::Destination(DestinationForm {
                url: url.clone(),
                allow_addresses: allow_addresses.clone(),
                allow_plaintext: *allow_plaintext,
                header: header.clone(),
                tunnel: *tunnel,
                ca: ca.clone(),
            }),
            Connection::Exec {
                program,
                args,
                digests,
            } => Self::Exec(ExecForm {
                program: program.clone(),
                args: args.clone(),
                digests: digests
                    .iter()
                    .map(|(path, digest)| (path.clone(), digest.to_string()))
                    .collect(),
            }),
            Connection::Http {
                url,
                allow_addresses,
                allow_plaintext,
            } => Self::Http(HttpForm {
                url: url.clone(),
                allow_addresses: allow_addresses.clone(),
                allow_plaintext: *allow_plaintext,
            }),
        }
    }

    fn read(self) -> Result<Connection, BodyError> {
        let digest = |(path, text): (String, String)| {
            word("server/digests", &text, Digest::from_hex(&text)).map(|digest| (path, digest))
        };
        Ok(match self {
            Self::Destination(form) => Connection::Destination {
                url: form.url,
                allow_addresses: form.allow_addresses,
                allow_plaintext: form.allow_plaintext,
                header: form.header,
                tunnel: form.tunnel,
                ca: form.ca,
            },
            Self::Exec(form) => Connection::Exec {
                program: form.program,
                args: form.args,
                digests: form.digests.into_iter().map(digest).collect::<Result<_, _>>()?,
            },
            Self::Http(form) => Connection::Http {
                url: form.url,
                allow_addresses: form.allow_addresses,
                allow_plaintext: form.allow_plaintext,
            },
        })
    }
}
