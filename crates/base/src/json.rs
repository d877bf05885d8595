//! The strict JSON reader (RFC 8259 and I-JSON, RFC 7493): the only way text from outside becomes a value.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits::JSON_DEPTH_MAX;

/// Why a text is refused, with the byte or line where the reader stopped.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or nested too deep, or a member twice.
    #[error("not strict JSON: {0}")]
    Syntax(String),
    /// Longer than the limit of this door.
    #[error("{len} bytes of JSON are more than the {max} allowed here")]
    TooLong {
        /// Bytes offered.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
}

/// Parses `text`: UTF-8 without BOM, at most `max` bytes and [`JSON_DEPTH_MAX`] levels, no member twice in
/// one object at any level, no lone surrogates, nothing behind the value, and no number that would change on
/// its way through this program: integers fit 64 bits, others have at most 17 significant digits and a double
/// of their size (RFC 7493 §2.2).
///
/// # Errors
/// [`JsonError`] naming what was wrong and where.
pub fn parse(text: &[u8], max: usize) -> Result<Value, JsonError> {
    if text.len() > max {
        return Err(JsonError::TooLong { len: text.len(), max });
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let saw_double = Cell::new(false);
    let strict = Strict {
        depth: 0,
        saw_double: &saw_double,
    };
    let value = strict
        .deserialize(&mut reader)
        .map_err(|e| JsonError::Syntax(e.to_string()))?;
    reader.end().map_err(|e| JsonError::Syntax(e.to_string()))?;
    if saw_double.get() {
        number::require_lossless(text)?;
    }
    Ok(value)
}

/// Parses `text` as [`parse`] does, then reads it as `T`. A structure is read from an object only, never from
/// an array of its members.
///
/// # Errors
/// [`JsonError`] when the text is not strict JSON or not of the shape of `T`.
pub fn parse_as<T: de::DeserializeOwned>(text: &[u8], max: usize) -> Result<T, JsonError> {
    T::deserialize(shape::Shaped(parse(text, max)?)).map_err(|e| JsonError::Syntax(e.to_string()))
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    saw_double: &'a Cell<bool>,
}

impl Strict<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom(format_args!(
                "nested more than {JSON_DEPTH_MAX} levels"
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        self.saw_double.set(true);
        Number::from_f64(v)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut out = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if out.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "member `{}` twice",
                    crate::limits::shown(&key)
                )));
            }
            let value = map.next_value_seed(inner)?;
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

/// A value that gives a structure from an object only.
mod shape {
    use serde::de::value::{MapDeserializer, SeqDeserializer};
    use serde::de::{self, Deserializer, IntoDeserializer, Unexpected, Visitor};
    use serde::forward_to_deserialize_any;
    use serde_json::Value;

    use crate::limits::shown;
    use crate::nearest;

    /// Why a value is not of the shape that is wanted.
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    pub(super) struct Misfit(String);

    impl de::Error for Misfit {
        fn custom<T: std::fmt::Display>(message: T) -> Self {
            Self(message.to_string())
        }

        fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
            let near = nearest(field, expected.iter().copied());
            let next = match (near, expected) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, []) => "there are no members here".to_owned(),
                (None, known) => format!("expected one of `{}`", known.join("`, `")),
            };
            Self(format!("unknown field `{}`, {next}", shown(field)))
        }
    }

    fn foreign(error: serde_json::Error) -> Misfit {
        Misfit(error.to_string())
    }

    pub(super) struct Shaped(pub(super) Value);

    impl<'de> IntoDeserializer<'de, Misfit> for Shaped {
        type Deserializer = Self;
        fn into_deserializer(self) -> Self {
            self
        }
    }

    impl<'de> Deserializer<'de> for Shaped {
        type Error = Misfit;

        fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            match self.0 {
                Value::Array(items) => {
                    let mut items = SeqDeserializer::new(items.into_iter().map(Shaped));
                    let read = visitor.visit_seq(&mut items)?;
                    items.end()?;
                    Ok(read)
                }
                Value::Object(members) => {
                    let members = members.into_iter().map(|(name, value)| (name, Shaped(value)));
                    let mut members = MapDeserializer::new(members);
                    let read = visitor.visit_map(&mut members)?;
                    members.end()?;
                    Ok(read)
                }
                plain => plain.deserialize_any(visitor).map_err(foreign),
            }
        }

        fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            match self.0 {
                Value::Null => visitor.visit_none(),
                _ => visitor.visit_some(self),
            }
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            _: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Misfit> {
            let unexpected = match &self.0 {
                Value::Array(_) => Unexpected::Seq,
                _ => return self.deserialize_any(visitor),
            };
            Err(de::Error::invalid_type(unexpected, &visitor))
        }

        fn deserialize_newtype_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            visitor: V,
        ) -> Result<V::Value, Misfit> {
            visitor.visit_newtype_struct(self)
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            name: &'static str,
            variants: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Misfit> {
            self.0.deserialize_enum(name, variants, visitor).map_err(foreign)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
            unit_struct seq tuple tuple_struct map identifier ignored_any
        }
    }
}

/// The second look at a text in which the reader met a number that is not a 64-bit integer.
mod number {
    use super::JsonError;

    /// What a double can tell apart (RFC 7493 §2.2, IEEE 754: 17 digits name every double).
    const DIGITS_MAX: usize = 17;

    pub(super) fn require_lossless(text: &[u8]) -> Result<(), JsonError> {
        let mut rest = text;
        while let Some((first, tail)) = rest.split_first() {
            rest = match first {
                b'"' => after_string(tail),
                b'-' | b'0'..=b'9' => {
                    let length = rest
                        .iter()
                        .take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
                    let (number, after) = rest.split_at_checked(length.count()).unwrap_or((rest, &[]));
                    if !std::str::from_utf8(number).is_ok_and(is_lossless) {
                        let shown = crate::limits::shown(&String::from_utf8_lossy(number));
                        return Err(JsonError::Syntax(format!(
                            "number `{shown}` does not fit 64 bits"
                        )));
                    }
                    after
                }
                _ => tail,
            };
        }
        Ok(())
    }

    fn after_string(mut rest: &[u8]) -> &[u8] {
        loop {
            match rest {
                [b'\\', _, tail @ ..] | [b'\\', tail @ ..] => rest = tail,
                [b'"', tail @ ..] => return tail,
                [_, tail @ ..] => rest = tail,
                [] => return rest,
            }
        }
    }

    fn is_lossless(number: &str) -> bool {
        if number.bytes().all(|b| b == b'-' || b.is_ascii_digit()) {
            return number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
        }
        let significand = number.split(['e', 'E']).next().unwrap_or(number);
        let digits: Vec<u8> = significand.bytes().filter(u8::is_ascii_digit).collect();
        let is_zero = digits.iter().all(|d| *d == b'0');
        let leading = digits.iter().take_while(|d| **d == b'0').count();
        let trailing = digits.iter().rev().take_while(|d| **d == b'0').count();
        let significant = digits.len().saturating_sub(leading + trailing);
        is_zero || significant <= DIGITS_MAX && number.parse::<f64>().is_ok_and(|v| v != 0.0 && v.is_finite())
    }
}
