//! SPDX licence expressions, held against what we accept.

/// Licences that ask for no more than attribution, and file-level copyleft.
const ACCEPTED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Whether some choice the expression leaves us is made of accepted licences only.
pub fn is_accepted(expression: &str) -> bool {
    // Before SPDX expressions, a slash meant a choice.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    any_of(&mut words) && words.is_empty()
}

fn any_of(words: &mut Vec<&str>) -> bool {
    let mut accepted = all_of(words);
    while words.last() == Some(&"OR") {
        words.pop();
        // Both sides must be read, whatever the first one said.
        accepted |= all_of(words);
    }
    accepted
}

fn all_of(words: &mut Vec<&str>) -> bool {
    let mut accepted = one(words);
    while words.last() == Some(&"AND") {
        words.pop();
        accepted &= one(words);
    }
    accepted
}

fn one(words: &mut Vec<&str>) -> bool {
    let Some(word) = words.pop() else { return false };
    if word == "(" {
        let accepted = any_of(words);
        return words.pop() == Some(")") && accepted;
    }
    if words.last() == Some(&"WITH") {
        words.pop();
        let exception = words.pop().unwrap_or_default();
        return ACCEPTED.contains(&format!("{word} WITH {exception}").as_str());
    }
    ACCEPTED.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::is_accepted;

    #[test]
    fn choices_and_conjunctions() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR X",
        ] {
            assert!(is_accepted(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0 WITH X", "(MIT", "MIT )"] {
            assert!(!is_accepted(bad), "{bad}");
        }
    }
}
