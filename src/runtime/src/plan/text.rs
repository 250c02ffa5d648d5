//! Text from the configuration, as the kernel reads it.

use std::ffi::CString;

use casemate_core::plan::At;
use casemate_spec::{Error, Result};

/// Text without NUL bytes.
pub(super) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_nul| Error::new(format!("{text:?}"), "it holds a NUL byte"))
}

/// A path inside the container.
pub(super) fn place(path: &str) -> Result<At> {
    At::new(path).ok_or_else(|| Error::new(format!("{path:?}"), "it holds a NUL byte"))
}

/// A list of CPUs or memory nodes: `0-3,7` (cpuset(7), "List format").
pub(super) fn number_list(text: &str) -> Result<Vec<usize>> {
    let wrong = || Error::new(format!("list {text:?}"), "it is not of the form 0-3,7");
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < 1024).ok_or_else(wrong);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::number_list;

    #[test]
    fn lists_are_the_kernels() {
        assert_eq!(number_list("0-2,7").ok(), Some(vec![0, 1, 2, 7]));
        assert_eq!(number_list("").ok(), Some(vec![]));
        for bad in ["a", "3-1", "-1", "1-", "99999999999", "0-4096"] {
            assert!(number_list(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
