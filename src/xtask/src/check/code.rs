//! Rust source with its comments and literals blanked out: enough to search it for words, not a parser.

/// The text with the same lines and columns, where only code is left.
pub fn bare(source: &str) -> String {
    let mut reader = Reader { rest: source, out: String::with_capacity(source.len()) };
    while !reader.rest.is_empty() {
        reader.step();
    }
    reader.out
}

/// Whether `word` stands in the line on its own, not as part of a longer name.
pub fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

/// For each line of bare code, whether it belongs to an item under `#[cfg(test)]`.
pub fn test_lines(bare: &str) -> Vec<bool> {
    let mut marks = Vec::new();
    let (mut depth, mut pending, mut inside) = (0_usize, false, None);
    for line in bare.lines() {
        pending |= inside.is_none() && line.contains("#[cfg(test)]");
        let was_test = pending || inside.is_some();
        for c in line.chars() {
            match c {
                '{' => {
                    if pending {
                        (inside, pending) = (Some(depth), false);
                    }
                    depth += 1;
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    if inside == Some(depth) {
                        inside = None;
                    }
                }
                ';' => pending = false,
                _ => {}
            }
        }
        marks.push(was_test);
    }
    marks
}

struct Reader<'a> {
    rest: &'a str,
    out: String,
}

impl Reader<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.blank(end);
        } else if self.rest.starts_with("/*") {
            self.blank(comment_length(self.rest));
        } else if let Some(length) = raw_string_length(self.rest, &self.out) {
            self.blank(length);
        } else if self.rest.starts_with('"') {
            self.blank(string_length(self.rest));
        } else if let Some(length) = character_length(self.rest) {
            self.blank(length);
        } else {
            let length = self.rest.chars().next().map_or(0, char::len_utf8);
            self.out.push_str(&self.rest[..length]);
            self.rest = &self.rest[length..];
        }
    }

    fn blank(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        self.out.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#` and their byte and C kin, unless the `r` ends a longer name.
fn raw_string_length(text: &str, before: &str) -> Option<usize> {
    if before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let body = ["br", "cr", "r"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inner.find(&close).map_or(inner.len(), |at| at + close.len());
    Some(text.len() - inner.len() + end)
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal, told from a lifetime by its closing quote.
fn character_length(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        let end = inner[2..].find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].starts_with('\'').then_some(2 + first.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::{bare, has_word, test_lines};

    #[test]
    fn only_code_is_left() {
        let source = "let a = \"unsafe \\\" x\"; // unsafe\nlet b = r#\"un\"safe\"#; /* un /* safe */ */ f('{', '\\'', b'}');\nfn g<'a>(x: &'a str) {}\n";
        let code = bare(source);
        assert!(!code.contains("safe"));
        assert!(code.contains("fn g<'a>(x: &'a str) {}"));
        assert!(!code.lines().nth(1).unwrap_or_default().contains(['{', '}']));
        assert_eq!(code.chars().count(), source.chars().count());
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
    }

    #[test]
    fn test_items_are_marked_to_their_closing_brace() {
        let code = "fn a() {\n}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
        assert_eq!(test_lines(code), [false, false, true, true, true, true, true, false]);
    }
}
