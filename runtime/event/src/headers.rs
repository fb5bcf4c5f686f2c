//! The headers of an event: pairs in order, a name may repeat. Checked on the way in, so that nothing in here can break a
//! protocol line (`HeaderValue::from(&str)` of async-nats panics on CR and LF) or pass for a header of the router's own.

use bytestring::ByteString;

use crate::{MAX_HEADER_BYTES, MAX_HEADERS, REPLAYED, TRACEPARENT};

/// Why a header was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Empty, or a character that HTTP does not allow in a field name.
    #[error("header name {0:?} is not an HTTP field name (letters, digits and !#$%&'*+-.^_`|~)")]
    Name(String),
    /// `nats-*` and `saf-*` belong to the broker and the router.
    #[error("header {0:?} is reserved: names that start with Nats- or Saf- are set by the router only")]
    Reserved(String),
    /// A control character.
    #[error("the value of header {0:?} holds a control character")]
    Value(String),
    /// More than [`MAX_HEADERS`].
    #[error("more than {MAX_HEADERS} headers")]
    TooMany,
    /// More than [`MAX_HEADER_BYTES`].
    #[error("headers of more than {MAX_HEADER_BYTES} bytes")]
    TooLarge,
}

/// Name and value pairs in the order they were given; names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(ByteString, ByteString)>);

impl Headers {
    /// No headers; does not allocate.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a header of a client or a guest.
    pub fn push(
        &mut self,
        name: impl Into<ByteString>,
        value: impl Into<ByteString>,
    ) -> Result<(), HeaderError> {
        let (name, value) = (lower_case(name.into()), value.into());
        if !is_field_name(&name) {
            return Err(HeaderError::Name(name.to_string()));
        }
        if is_reserved(&name) {
            return Err(HeaderError::Reserved(name.to_string()));
        }
        if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(HeaderError::Value(name.to_string()));
        }
        if self.0.len() >= MAX_HEADERS {
            return Err(HeaderError::TooMany);
        }
        if self.bytes() + name.len() + value.len() > MAX_HEADER_BYTES {
            return Err(HeaderError::TooLarge);
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Adds a header that a stream already holds, whoever put it there: only its name is brought to lower case.
    pub fn push_stored(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        self.0.push((lower_case(name.into()), value.into()));
    }

    /// Replaces every header of this lower-case name by one.
    pub fn set(&mut self, name: &'static str, value: impl Into<ByteString>) {
        self.0.retain(|(n, _)| n != name);
        self.0.push((ByteString::from_static(name), value.into()));
    }

    /// Puts another value in the place of the first header of this lower-case name, or adds one; says what was there.
    pub fn swap(&mut self, name: &'static str, value: impl Into<ByteString>) -> Option<ByteString> {
        if let Some((_, there)) = self.0.iter_mut().find(|(n, _)| n == name) {
            return Some(std::mem::replace(there, value.into()));
        }
        self.0.push((ByteString::from_static(name), value.into()));
        None
    }

    /// Takes every header of this lower-case name out; the first value.
    pub fn take(&mut self, name: &str) -> Option<ByteString> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        let (_, value) = self.0.remove(at);
        self.0.retain(|(n, _)| n != name);
        Some(value)
    }

    /// Those of an event that is handed over again: it begins a trace of its own, and names the one it was in.
    pub fn replayed(&mut self) {
        if let Some(before) = self.take(TRACEPARENT) {
            self.swap(REPLAYED, before);
        }
    }

    /// The first value of a lower-case name.
    pub fn get(&self, name: &str) -> Option<&ByteString> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// The pairs, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (ByteString, ByteString)> {
        self.0.iter()
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values together.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a (ByteString, ByteString);
    type IntoIter = std::slice::Iter<'a, (ByteString, ByteString)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Does not allocate for a name that is lower case already, as nearly all are.
fn lower_case(name: ByteString) -> ByteString {
    if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name }
}

fn is_reserved(name: &str) -> bool {
    name.starts_with("nats-") || name.starts_with("saf-")
}

fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_checked() {
        let refused = |name: &str, value: &str| Headers::new().push(name.to_owned(), value.to_owned()).err();
        assert_eq!(refused("x-source", "orders"), None);
        assert_eq!(refused("x-quote", "sagt „ja“\t!"), None);
        for name in ["", "with space", "naïve", "a:b", "a\r\nb"] {
            assert!(matches!(refused(name, "v"), Some(HeaderError::Name(_))), "{name:?}");
        }
        for name in ["Nats-Msg-Id", "nats-ttl", "SAF-hops", "Saf-Parent"] {
            assert!(matches!(refused(name, "v"), Some(HeaderError::Reserved(_))), "{name:?}");
        }
        for value in ["a\r\nb", "a\nb", "nul\0", "del\x7f"] {
            assert!(matches!(refused("x", value), Some(HeaderError::Value(_))), "{value:?}");
        }
    }

    #[test]
    fn headers_are_bounded_in_number_and_size() {
        let mut headers = Headers::new();
        for _ in 0..MAX_HEADERS {
            headers.push("x", "v").expect("within the limit");
        }
        assert_eq!(headers.push("x", "v"), Err(HeaderError::TooMany));
        assert_eq!(Headers::new().push("x", "v".repeat(MAX_HEADER_BYTES)), Err(HeaderError::TooLarge));
    }

    #[test]
    fn names_are_lower_case_and_repeated_values_keep_their_order() {
        let mut headers = Headers::new();
        headers.push("X-Tag", "a").expect("valid");
        headers.push("x-tag", "b").expect("valid");
        let pairs: Vec<_> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(pairs, [("x-tag", "a"), ("x-tag", "b")]);
        headers.set("x-tag", "c");
        assert_eq!(headers.get("x-tag").map(|v| &**v), Some("c"));
        assert_eq!(headers.len(), 1);
        assert_eq!(headers.swap("x-tag", "d").as_deref(), Some("c"));
        assert_eq!(headers.swap("x-other", "e"), None);
        headers.push("traceparent", "old").expect("valid");
        headers.replayed();
        headers.replayed();
        assert_eq!((headers.get(TRACEPARENT), headers.get(REPLAYED).map(|v| &**v)), (None, Some("old")));
        assert_eq!(headers.take(REPLAYED).as_deref(), Some("old"));
        assert_eq!(headers.take("x-tag").as_deref(), Some("d"));
        assert_eq!(headers.take("x-tag"), None);
        assert_eq!(headers.len(), 1);
    }
}
