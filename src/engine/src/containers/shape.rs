//! How the API's JSON is read: a property that is missing or null is as good as its zero value, and what is unknown is
//! left out, as every client of Docker's expects.

use std::fmt;

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Defines a document of the API, or one (`camel`) of a profile: every property may be missing or null.
macro_rules! document {
    (camel $($rest:tt)*) => {
        crate::containers::shape::document! { @ (rename_all = "camelCase") $($rest)* }
    };
    (@ ($($case:tt)*) $(#[$meta:meta])* $name:ident { $($(#[$field:meta])* $property:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
        #[serde($($case)*, default)]
        pub struct $name {
            $(
                $(#[$field])*
                #[serde(deserialize_with = "crate::containers::shape::nullable")]
                pub $property: $type,
            )*
        }
    };
    ($($rest:tt)*) => {
        crate::containers::shape::document! { @ (rename_all = "PascalCase") $($rest)* }
    };
}
pub(crate) use document;

/// Null is the zero value.
///
/// # Errors
/// It is neither null nor of this type.
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Whether a value is its type's zero: left out of answers where Docker leaves it out.
pub fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A command: a list of words, or a single one given as text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ReadWords)
    }
}

struct ReadWords;

impl<'de> Visitor<'de> for ReadWords {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Words, E> {
        Ok(Words(vec![word.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Words, A::Error> {
        let mut all = Vec::new();
        while let Some(word) = words.next_element::<Option<String>>()? {
            all.push(word.unwrap_or_default());
        }
        Ok(Words(all))
    }
}

/// The value of a member of a set, which Docker writes as `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Member;

impl Serialize for Member {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        to.serialize_map(Some(0))?.end()
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Self)
    }
}
