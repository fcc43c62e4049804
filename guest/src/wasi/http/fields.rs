//! Header fields and trailers. (`wasi:http/types.fields`, RFC 9110 section 5)

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Longest name in bytes. (wasmtime-wasi-http, by the crate http)
const NAME_MAX: usize = 0xffff;

/// Fields that belong to a connection and not to a message: no program sets them, none sees them.
/// (wasmtime-wasi-http, `DEFAULT_FORBIDDEN_HEADERS`)
const FORBIDDEN: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "host",
    "http2-settings",
];

const CONTENT_LENGTH: &str = "content-length";

/// Names in lower case and their values, in order.
pub(crate) type List = mote_abi::http::Fields;

/// The fields of one message. Clones share the list until one changes it.
#[derive(Clone)]
pub(crate) struct Fields {
    list: Arc<List>,
    /// Sum of [`cost`], kept up while `mutable`.
    size: usize,
    /// Most that `size` may be; 0 unless `mutable`.
    most: usize,
    mutable: bool,
}

/// Why fields were not changed.
pub(crate) enum FieldsError {
    /// A name or value has characters that it may not have.
    Syntax,
    Forbidden,
    Immutable,
    /// They would be more than the program may have.
    TooLarge,
}

impl Fields {
    /// None, to be filled, up to `most` bytes: `mote_abi::boot::Limits::http_fields`.
    pub(crate) fn new(most: usize) -> Fields {
        Fields {
            list: Arc::default(),
            size: 0,
            most,
            mutable: true,
        }
    }

    /// What was received: not to be changed, and without what is not for programs.
    pub(crate) fn received(mut list: List) -> Fields {
        for (name, _) in &mut list {
            name.make_ascii_lowercase();
        }
        list.retain(|(name, _)| !is_forbidden(name));
        Fields {
            list: Arc::new(list),
            size: 0,
            most: 0,
            mutable: false,
        }
    }

    /// A copy that may be changed, and have up to `most` bytes.
    pub(crate) fn copy(&self, most: usize) -> Fields {
        let mut size = 0;
        for (index, (name, value)) in self.list.iter().enumerate() {
            let known = self.list[..index].iter().any(|(other, _)| other == name);
            size += cost(name, value, known);
        }
        Fields {
            list: Arc::clone(&self.list),
            size,
            most,
            mutable: true,
        }
    }

    /// From here on they stay as they are.
    pub(crate) fn freeze(mut self) -> Fields {
        self.mutable = false;
        self
    }

    pub(crate) fn list(&self) -> &List {
        &self.list
    }

    pub(crate) fn into_list(self) -> List {
        Arc::unwrap_or_clone(self.list)
    }

    /// The values of a name; none for a name that is not valid.
    pub(crate) fn get(&self, name: &str) -> Vec<Vec<u8>> {
        self.values(name).map(Vec::from).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.list
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// Replaces the values of a name.
    pub(crate) fn set(&mut self, name: String, values: Vec<Vec<u8>>) -> Result<(), FieldsError> {
        let name = valid_name(name)?;
        self.check_mutable()?;
        if name == CONTENT_LENGTH && values.len() > 1 {
            return Err(FieldsError::Syntax);
        }
        let mut added = Vec::with_capacity(values.len());
        let mut grown = 0;
        for value in values {
            let value = valid_value(&name, value)?;
            grown += cost(&name, &value, !added.is_empty());
            added.push((name.clone(), value));
        }
        let size = self.size - self.cost_of(&name) + grown;
        if size > self.most {
            return Err(FieldsError::TooLarge);
        }
        let list = Arc::make_mut(&mut self.list);
        let at = list
            .iter()
            .position(|(other, _)| *other == name)
            .unwrap_or(list.len());
        list.retain(|(other, _)| *other != name);
        list.splice(at..at, added);
        self.size = size;
        Ok(())
    }

    /// Removes the values of a name.
    pub(crate) fn delete(&mut self, name: String) -> Result<(), FieldsError> {
        let name = valid_name(name)?;
        self.check_mutable()?;
        self.size -= self.cost_of(&name);
        Arc::make_mut(&mut self.list).retain(|(other, _)| *other != name);
        Ok(())
    }

    /// Adds a value to those of a name.
    pub(crate) fn append(&mut self, name: String, value: Vec<u8>) -> Result<(), FieldsError> {
        let name = valid_name(name)?;
        let value = valid_value(&name, value)?;
        let known = self.has(&name);
        // Two lengths of one body are two bodies to two readers.
        if known && name == CONTENT_LENGTH {
            return Err(FieldsError::Syntax);
        }
        self.check_mutable()?;
        let size = self.size + cost(&name, &value, known);
        if size > self.most {
            return Err(FieldsError::TooLarge);
        }
        Arc::make_mut(&mut self.list).push((name, value));
        self.size = size;
        Ok(())
    }

    /// The length that the content-length field gives to the body, if there is such a field.
    pub(crate) fn content_length(&self) -> Result<Option<u64>, FieldsError> {
        let mut values = self.values(CONTENT_LENGTH);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => decimal(value).map(Some).ok_or(FieldsError::Syntax),
            (Some(_), Some(_)) => Err(FieldsError::Syntax),
        }
    }

    /// The value of `name`, if there is one and it is text.
    pub(crate) fn text<'a>(list: &'a List, name: &str) -> Option<&'a str> {
        let (_, value) = list.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        core::str::from_utf8(value).ok()
    }

    fn check_mutable(&self) -> Result<(), FieldsError> {
        if self.mutable {
            Ok(())
        } else {
            Err(FieldsError::Immutable)
        }
    }

    fn cost_of(&self, name: &str) -> usize {
        let mut sum = 0;
        for value in self.values(name) {
            sum += cost(name, value, sum > 0);
        }
        sum
    }
}

/// What a field counts for; a name counts once. (wasmtime-wasi-http: lengths, and what the crate http's `HeaderName` and
/// `HeaderValue` take)
fn cost(name: &str, value: &[u8], known: bool) -> usize {
    let name = if known { 0 } else { name.len() + 32 };
    name + value.len() + 40
}

fn is_forbidden(name: &str) -> bool {
    FORBIDDEN.contains(&name)
}

/// A character of a token. (RFC 9110, 5.6.2)
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `text` is a token: the name of a field or a method.
pub(super) fn valid_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token)
}

fn valid_name(mut name: String) -> Result<String, FieldsError> {
    if name.len() > NAME_MAX || !valid_token(&name) {
        return Err(FieldsError::Syntax);
    }
    name.make_ascii_lowercase();
    if is_forbidden(&name) {
        return Err(FieldsError::Forbidden);
    }
    Ok(name)
}

/// Visible characters, spaces, tabs, and whatever is not ASCII. (RFC 9110, 5.5)
fn valid_value(name: &str, value: Vec<u8>) -> Result<Vec<u8>, FieldsError> {
    let valid = if name == CONTENT_LENGTH {
        decimal(&value).is_some()
    } else {
        value.iter().all(|&b| (b >= b' ' && b != 0x7f) || b == b'\t')
    };
    if valid {
        Ok(value)
    } else {
        Err(FieldsError::Syntax)
    }
}

/// Digits alone. (RFC 9110, 8.6)
fn decimal(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(value).ok()?.parse().ok()
}
