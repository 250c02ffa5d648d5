//! The keys by which a client leaves a terminal and lets the process run on.

use crate::{Failure, Result};

/// What stands for "nothing said".
const USUAL: &str = "ctrl-p,ctrl-q";

/// The keys, and how far they were pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    pressed: usize,
}

impl DetachKeys {
    /// `ctrl-p,ctrl-q`, `a`, `ctrl-@,x`, …; nothing is the usual ones.
    ///
    /// # Errors
    /// A part is no key.
    pub fn parse(text: &str) -> Result<Self> {
        let text = if text.is_empty() { USUAL } else { text };
        let keys = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        match keys {
            Some(keys) => Ok(Self { keys, pressed: 0 }),
            None => Err(Failure::invalid(format!("Invalid detach keys ({text}) provided"))),
        }
    }

    /// Takes bytes of a terminal; gives those to be passed on, and whether the keys were pressed. What comes after them
    /// is dropped; the beginning of what may still become them is held back.
    pub fn pass(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(bytes.len() + self.pressed);
        for &byte in bytes {
            self.press(byte, &mut out);
            if self.pressed == self.keys.len() {
                self.pressed = 0;
                return (out, true);
            }
        }
        (out, false)
    }

    /// What was held back, when nothing more comes.
    pub fn rest(&mut self) -> Vec<u8> {
        let held = self.keys.iter().take(self.pressed).copied().collect();
        self.pressed = 0;
        held
    }

    fn press(&mut self, byte: u8, out: &mut Vec<u8>) {
        let mut held: Vec<u8> = self.keys.iter().take(self.pressed).copied().chain([byte]).collect();
        // The longest end of what was typed that is still a beginning of the keys is held on.
        while !self.keys.starts_with(&held) {
            out.push(held.remove(0));
        }
        self.pressed = held.len();
    }
}

fn key(name: &str) -> Option<u8> {
    if let [byte] = name.as_bytes() {
        return Some(*byte);
    }
    if name.eq_ignore_ascii_case("DEL") {
        return Some(0x7f);
    }
    match name.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [b'['] => Some(27),
        [b'\\'] => Some(28),
        [b']'] => Some(29),
        [b'^'] => Some(30),
        [b'_'] => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_read() {
        let keys = |text| DetachKeys::parse(text).map(|keys| keys.keys);
        assert_eq!(keys(""), Ok(vec![16, 17]));
        assert_eq!(keys("ctrl-a,x,ctrl-@,ctrl-\\,DEL"), Ok(vec![1, b'x', 0, 28, 127]));
        for bad in ["ctrl-", "ctrl-A", "ctrl-aa", "ab", "a,", "ü", "ctrl-1"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_of_the_keys_is_passed_on() {
        let mut keys = DetachKeys::parse("").expect("keys");
        assert_eq!(keys.pass(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.pass(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.pass(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.pass(b"\x11z"), (vec![], true));
        let mut keys = DetachKeys::parse("a,a,b").expect("keys");
        assert_eq!(keys.pass(b"aaab"), (b"a".to_vec(), true));
        assert_eq!(keys.pass(b"aa"), (vec![], false));
        assert_eq!(keys.rest(), b"aa");
    }

    proptest! {
        /// However the bytes are cut, everything before the keys is passed on, in order, and nothing else is.
        #[test]
        fn nothing_is_lost_before_the_keys(
            typed in proptest::collection::vec(0_u8..4, 0..40),
            keys in proptest::collection::vec(0_u8..4, 1..4),
            cuts in proptest::collection::vec(1_usize..5, 1..40),
        ) {
            let mut scan = DetachKeys { keys: keys.clone(), pressed: 0 };
            let expected = typed.windows(keys.len()).position(|window| window == keys);
            let (mut passed, mut left, mut rest) = (Vec::new(), false, &typed[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() || left {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                let (out, detached) = scan.pass(now);
                passed.extend(out);
                (rest, left) = (later, detached);
            }
            prop_assert_eq!(left, expected.is_some());
            match expected {
                Some(at) => prop_assert_eq!(&passed[..], &typed[..at]),
                None => {
                    passed.extend(scan.rest());
                    prop_assert_eq!(passed, typed);
                }
            }
        }
    }
}
