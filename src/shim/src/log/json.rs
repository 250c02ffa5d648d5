//! A line in the form of Docker's `json-file`: one object, whose text is escaped as Go's `encoding/json` does for HTML.

use super::Stream;
use super::lines::Line;

/// Appends a line's object and a line end.
pub(super) fn append(out: &mut Vec<u8>, stream: Stream, line: &Line<'_>) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, line.text);
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(line.at.bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Appends text as the inside of a JSON string. Each byte that is not UTF-8 becomes a replacement character of its own.
fn escape(out: &mut Vec<u8>, mut bytes: &[u8]) {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(_) => return valid(out, bytes),
            Err(error) => {
                let (good, bad) = bytes.split_at(error.valid_up_to());
                valid(out, good);
                out.extend_from_slice(b"\\ufffd");
                // Go goes on after one byte, though several may be wrong together.
                bytes = bad.get(1..).unwrap_or_default();
            }
        }
    }
}

fn valid(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| SPECIAL.get(usize::from(*byte)) == Some(&true)) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = from.get(1..).unwrap_or_default();
        match from {
            [byte @ (b'"' | b'\\'), ..] => out.extend_from_slice(&[b'\\', *byte]),
            [b'\n', ..] => out.extend_from_slice(b"\\n"),
            [b'\r', ..] => out.extend_from_slice(b"\\r"),
            // U+2028 and U+2029, which end lines in JavaScript.
            [0xe2, 0x80, last @ (0xa8 | 0xa9), after @ ..] => {
                out.extend_from_slice(b"\\u202");
                out.push(hex(*last));
                rest = after;
            }
            [0xe2, ..] => out.push(0xe2),
            [byte, ..] => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(*byte)]),
            [] => {}
        }
    }
    out.extend_from_slice(rest);
}

/// Bytes that are not copied as they are; 0xe2 begins U+2028 and U+2029.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2);
        byte += 1;
    }
    table
};

/// The lower four bits.
fn hex(value: u8) -> u8 {
    match value & 0xf {
        digit @ 0..=9 => b'0' + digit,
        letter => b'a' + letter - 10,
    }
}

#[cfg(test)]
mod tests {
    use super::super::time::Stamp;
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, bytes);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn text_is_escaped_as_docker_does() {
        for (text, expected) in [
            (&b"plain \xc3\xa9 \xf0\x9f\x98\x80"[..], "plain é 😀"),
            (b"\"\\\n\r\t\0\x1b\x7f", "\\\"\\\\\\n\\r\\u0009\\u0000\\u001b\u{7f}"),
            (b"<a&b>", "\\u003ca\\u0026b\\u003e"),
            ("\u{2028}\u{2029}\u{2027}\u{202a}€".as_bytes(), "\\u2028\\u2029\u{2027}\u{202a}€"),
            (b"\xff\xfeok\xc3", "\\ufffd\\ufffdok\\ufffd"),
            // A sequence that is cut, and one beyond the last character: one for each byte.
            (b"\xe2\x82x", "\\ufffd\\ufffdx"),
            (b"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"),
            (b"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn a_line_is_an_object() {
        let mut out = Vec::new();
        let line = Line { text: b"hello\n", at: Stamp::at(0, 5), continues: false };
        append(&mut out, Stream::Stderr, &line);
        let expected =
            "{\"log\":\"hello\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:00.000000005Z\"}\n";
        assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
    }
}
