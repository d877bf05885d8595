//! The egress proxy.

use serde::{Deserialize, Serialize};

/// `GET /v1/tenants/{tenant}/egress`. Both are absent where the service has no egress proxy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Egress {
    /// `ADDRESS:PORT` of the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Certificate of the egress CA (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}
