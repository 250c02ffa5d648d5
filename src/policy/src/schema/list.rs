//! Lists of a policy: what they hold, what they inherit, and what they let pass.

/// A value written as one text.
pub(crate) trait Word: Sized + PartialEq + Clone {
    /// Reads it, or says what it should have been.
    fn read(text: &str) -> Result<Self, String>;
    /// The text that reads back to it.
    fn text(&self) -> String;
}

/// What may be had of a kind.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Allow<T> {
    /// Anything: the bundle decides.
    #[default]
    Any,
    /// These alone.
    Only(Vec<T>),
}

impl<T> Allow<T> {
    /// Those listed; none when anything goes.
    pub(crate) fn list(&self) -> Option<&[T]> {
        match self {
            Self::Any => None,
            Self::Only(list) => Some(list),
        }
    }

    /// Whether something is allowed, by what covers it.
    pub(crate) fn admits(&self, covers: impl FnMut(&T) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Only(list) => list.iter().any(covers),
        }
    }
}

/// One entry of a list in a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry<T> {
    /// `"..."`: what the extended policy has.
    Inherited,
    /// `"*"`: anything.
    Any,
    /// Itself.
    Item(T),
}

impl<T: Word> Entry<T> {
    /// Reads one entry, or says what it should have been.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        match text {
            "..." => Ok(Self::Inherited),
            "*" => Ok(Self::Any),
            text => T::read(text).map(Self::Item),
        }
    }
}

/// Puts a document's list in the place of the inherited one.
pub(crate) fn replace<T: Word>(ours: &mut Vec<T>, entries: Option<&[Entry<T>]>) {
    let Some(entries) = entries else { return };
    let inherited = std::mem::take(ours);
    for entry in entries {
        match entry {
            Entry::Inherited => inherited.iter().for_each(|item| push_new(ours, item)),
            // Only a list of what is allowed has "anything"; elsewhere it was refused.
            Entry::Any => {}
            Entry::Item(item) => push_new(ours, item),
        }
    }
}

/// The same for what is allowed, where `"*"` stands for anything.
pub(crate) fn replace_allowed<T: Word>(ours: &mut Allow<T>, entries: Option<&[Entry<T>]>) {
    let Some(entries) = entries else { return };
    let inherits_any = *ours == Allow::Any && entries.contains(&Entry::Inherited);
    if inherits_any || entries.contains(&Entry::Any) {
        *ours = Allow::Any;
        return;
    }
    let mut list = ours.list().map(<[T]>::to_vec).unwrap_or_default();
    replace(&mut list, Some(entries));
    *ours = Allow::Only(list);
}

fn push_new<T: Word>(list: &mut Vec<T>, item: &T) {
    if !list.contains(item) {
        list.push(item.clone());
    }
}
