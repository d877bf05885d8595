//! The messages of the Workload API, with the numbers that its specification gives their fields
//! (SPIFFE Workload API §5, §6), and `google.protobuf.Struct` for the claims of a token.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{Message, Oneof};
use serde_json::{Map, Value as Json};

/// `X509SVIDRequest`, `X509BundlesRequest`, `JWTBundlesRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Nothing {}

/// `X509SVIDResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct X509Answer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<X509>,
}

/// `X509SVID`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct X509 {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) x509_svid: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) x509_svid_key: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) bundle: Bytes,
}

/// `X509BundlesResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct X509Bundles {
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub(crate) bundles: BTreeMap<String, Vec<u8>>,
}

/// `JWTSVIDRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct JwtQuestion {
    #[prost(string, repeated, tag = "1")]
    pub(crate) audience: Vec<String>,
    #[prost(string, tag = "2")]
    pub(crate) spiffe_id: String,
}

/// `JWTSVIDResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct JwtAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<Jwt>,
}

/// `JWTSVID`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Jwt {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    #[prost(string, tag = "2")]
    pub(crate) svid: String,
}

/// `JWTBundlesResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct JwtBundles {
    #[prost(btree_map = "string, bytes", tag = "1")]
    pub(crate) bundles: BTreeMap<String, Vec<u8>>,
}

/// `ValidateJWTSVIDRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValidateQuestion {
    #[prost(string, tag = "1")]
    pub(crate) audience: String,
    #[prost(string, tag = "2")]
    pub(crate) svid: String,
}

/// `ValidateJWTSVIDResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValidateAnswer {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) claims: Option<Struct>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) fields: BTreeMap<String, Value>,
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct List {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<Value>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub(crate) kind: Option<Kind>,
}

/// What a value is.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// Claims as a `Struct`; every number is a double there.
pub(crate) fn claims(members: Map<String, Json>) -> Struct {
    let fields = members.into_iter().map(|(name, member)| (name, value(member)));
    Struct {
        fields: fields.collect(),
    }
}

fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::Null(0),
        Json::Bool(is) => Kind::Bool(is),
        Json::Number(number) => Kind::Number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::Text(text),
        Json::Array(values) => Kind::List(List {
            values: values.into_iter().map(value).collect(),
        }),
        Json::Object(members) => Kind::Struct(claims(members)),
    };
    Value { kind: Some(kind) }
}
