//! Lists of CPUs and memory nodes, and names that become file names.

/// Beyond the most CPUs (8192) and memory nodes (1024) that Linux can be built for on any machine.
const MOST: u32 = 8191;

/// Whoever reads a list writes its ranges out, so a short text must not stand for a long list.
const LONGEST: usize = 4096;

/// Whether `text` is a list as `cpuset(7)` writes it: numbers and ranges, between commas. May be empty.
pub(super) fn is_list(text: &str) -> bool {
    let number = |part: &str| part.trim().parse::<u32>().ok().filter(|number| *number <= MOST);
    if text.len() > LONGEST {
        return false;
    }
    text.trim().is_empty()
        || text.split(',').all(|part| match part.split_once('-') {
            Some((low, high)) => number(low).zip(number(high)).is_some_and(|(low, high)| low <= high),
            None => number(part).is_some(),
        })
}

/// Whether `name` is one component of a path and no more, so that it stays in the directory it is joined to.
pub(super) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/') && !name.contains(char::is_control)
}

/// Whether the kernel takes `name` for a network interface (`dev_valid_name`).
pub(super) fn is_interface_name(name: &str) -> bool {
    let odd = |c: char| c == ':' || c.is_whitespace() || c.is_control();
    name.len() < 16 && is_file_name(name) && !name.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_recognised() {
        for good in ["", "0", "0-3", "0-1,7", " 1 , 3-4 "] {
            assert!(is_list(good), "{good:?}");
        }
        let long = "0-8191,".repeat(1000) + "0";
        for bad in [long.as_str(), "0-8192", "a", "3-1", "1-", "-1", "1,,2", "1-2-3", "0x1", "4294967296"] {
            assert!(!is_list(bad), "{bad:?}");
        }
    }

    #[test]
    fn interface_names_are_the_kernels() {
        assert!(is_interface_name("eth0.100") && is_interface_name("a"));
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteen-chars-xx"] {
            assert!(!is_interface_name(bad), "{bad:?}");
        }
    }
}
