//! Ids of the host that are somebody's already: users, groups, and the ranges handed to users.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use casemate_spec::{Error, Result};

use super::Range;

/// Each file, and whether it lists single ids or `name:first:count` (passwd(5), group(5), subuid(5), subgid(5)).
const FILES: [(&str, Form); 4] =
    [("passwd", Form::Single), ("group", Form::Single), ("subuid", Form::Span), ("subgid", Form::Span)];

#[derive(Debug, Clone, Copy)]
enum Form {
    Single,
    Span,
}

/// Spans of ids, first and last.
#[derive(Debug, Default)]
pub struct Avoided(Vec<(u32, u32)>);

impl Avoided {
    /// What the files in `etc` say about ids from `base` on. Users that only a directory service knows are not
    /// found: whoever has such users above `base` moves the pool.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub fn read(etc: &Path, base: u32) -> Result<Self> {
        let mut spans = Vec::new();
        for (name, form) in FILES {
            let path = etc.join(name);
            match fs::read(&path) {
                Ok(bytes) => {
                    spans.extend(bytes.split(|&byte| byte == b'\n').filter_map(|line| form.parse(line)))
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(format!("read {}", path.display()), &error)),
            }
        }
        spans.retain(|&(_, last)| last >= base);
        Ok(Self(spans))
    }

    /// Whether the range that starts at `first` has an id of them.
    pub fn touches(&self, first: u32) -> bool {
        let last = first.saturating_add(Range::SIZE - 1);
        self.0.iter().any(|&(low, high)| low <= last && first <= high)
    }
}

impl Form {
    fn parse(self, line: &[u8]) -> Option<(u32, u32)> {
        let mut fields = line.split(|&byte| byte == b':');
        let mut number = |skip| std::str::from_utf8(fields.nth(skip)?).ok()?.trim().parse::<u32>().ok();
        match self {
            Self::Single => number(2).map(|id| (id, id)),
            Self::Span => {
                let (first, count) = (number(1)?, number(0)?);
                Some((first, first.saturating_add(count.checked_sub(1)?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_with_one_id_of_somebody_is_avoided() {
        let spans = ["u:x:131072:5:", "root:x:0:0:", "", "broken", "a:b:c"]
            .map(|line| Form::Single.parse(line.as_bytes()));
        assert_eq!(spans, [Some((131_072, 131_072)), Some((0, 0)), None, None, None]);
        let avoided = Avoided(spans.into_iter().flatten().collect());
        assert!(avoided.touches(131_072) && avoided.touches(65_537) && !avoided.touches(65_536));
    }

    #[test]
    fn spans_have_an_end() {
        assert_eq!(Form::Span.parse(b"u:100000:65536"), Some((100_000, 165_535)));
        assert_eq!(Form::Span.parse(b"u:4294967290:65536"), Some((4_294_967_290, u32::MAX)));
        assert_eq!(Form::Span.parse(b"u:1:0"), None);
        assert_eq!(Form::Span.parse(b"u:1:99999999999"), None);
    }
}
