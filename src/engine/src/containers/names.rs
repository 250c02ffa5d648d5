//! Names of containers: whether one may be, and one for those who give none.

use ring::rand::{SecureRandom, SystemRandom};

use crate::{Failure, Result};

/// Of walls, of those who keep them, and of their tempers.
const ADJECTIVES: [&str; 64] = [
    "airy", "alert", "ample", "bold", "brave", "brisk", "calm", "candid", "clever", "cosy", "curious",
    "daring", "deft", "eager", "earnest", "fabled", "fair", "faithful", "fearless", "firm", "frank",
    "gallant", "genial", "gentle", "glad", "golden", "hardy", "hearty", "honest", "jolly", "jovial", "keen",
    "kind", "lively", "loyal", "lucid", "mellow", "merry", "mindful", "nimble", "noble", "patient", "placid",
    "plucky", "polite", "proud", "quiet", "ready", "robust", "sage", "serene", "silent", "sober", "stalwart",
    "steady", "stout", "sturdy", "sunny", "tidy", "trusty", "vigilant", "warm", "wise", "zesty",
];

/// Builders of fortresses and of bridges, and people who studied what can be kept and what can be broken.
const SURNAMES: [&str; 64] = [
    "alberti",
    "antonelli",
    "archimedes",
    "babbage",
    "bazalgette",
    "boole",
    "brahmagupta",
    "bramah",
    "brunel",
    "brunelleschi",
    "cayley",
    "chubb",
    "coehoorn",
    "conway",
    "cormontaigne",
    "diderot",
    "dijkstra",
    "eiffel",
    "erdos",
    "euclid",
    "euler",
    "fermat",
    "floriani",
    "gauss",
    "germain",
    "goldbach",
    "hamming",
    "heron",
    "hilbert",
    "hypatia",
    "imhotep",
    "jansen",
    "kerckhoffs",
    "khwarizmi",
    "lagrange",
    "laplace",
    "leonardo",
    "lovelace",
    "maillart",
    "marchi",
    "martini",
    "menabrea",
    "michelangelo",
    "mirzakhani",
    "noether",
    "palladio",
    "perronet",
    "ramanujan",
    "riemann",
    "roebling",
    "sangallo",
    "sanmicheli",
    "scamozzi",
    "shannon",
    "sinan",
    "smeaton",
    "stevin",
    "telford",
    "turing",
    "vauban",
    "vitruvius",
    "wren",
    "yale",
    "zeno",
];

/// Random bytes of the kernel's.
///
/// # Errors
/// There are none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::failed("random bytes: the kernel has none"))?;
    Ok(bytes)
}

/// A name; `attempt` after some that were taken, a digit makes it longer, as Docker does.
///
/// # Errors
/// There are no random bytes.
pub fn propose(attempt: u32) -> Result<String> {
    let [first, second, digit] = random::<3>()?;
    let pick = |list: &[&'static str; 64], byte: u8| list[usize::from(byte & 63)];
    let name = format!("{}_{}", pick(&ADJECTIVES, first), pick(&SURNAMES, second));
    Ok(if attempt < 6 { name } else { format!("{name}{}", u32::from(digit % 10) + 10 * (attempt - 6)) })
}

/// A name as a client gives it, without the slash that it may begin with.
///
/// # Errors
/// It is none, in Docker's words.
pub fn checked(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let good = bare.len() > 1 && bare.len() <= 255 && bare.bytes().all(fits);
    if good && bare.as_bytes()[0].is_ascii_alphanumeric() {
        return Ok(bare);
    }
    let message = format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    Err(Failure::invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_proposed_are_names() {
        for attempt in 0..40 {
            let name = propose(attempt).expect("a name");
            assert_eq!(checked(&name).expect("good"), name);
        }
        for list in [ADJECTIVES, SURNAMES] {
            assert!(list.windows(2).all(|pair| pair[0] < pair[1]), "sorted, and none twice");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_in_dockers_words() {
        let long = "a".repeat(256);
        for bad in ["", "/", "a", "-a", "_a", ".a", "a b", "a/b", "//ab", "ä1", "a\0b", "a\n", &long] {
            let failure = checked(bad).expect_err(bad);
            assert!(failure.message.ends_with("only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"), "{bad:?}");
        }
        assert_eq!(checked("/web-1.a_b").expect("good"), "web-1.a_b");
    }
}
