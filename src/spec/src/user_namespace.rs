//! user_namespaces(7)

/// Whether the text of `/proc/PID/uid_map` is that of the first user namespace, which maps every id to itself: a process
/// there that is root is root of the host.
pub fn is_first(uid_map: &str) -> bool {
    uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_map_is_the_first() {
        assert!(is_first("         0          0 4294967295\n"));
        for other in ["", "0 0 4294967294", "0 1000 1\n1 100000 65536", "0 0 65536", "0 0 4294967295 0"] {
            assert!(!is_first(other), "{other}");
        }
    }
}
