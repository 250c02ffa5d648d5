//! Who a user is, by the container's own `/etc/passwd` and `/etc/group`, under Docker's rules and in its words.

use std::fs::File;
use std::io::Read as _;

use casemate_spec::wire::UserEntry;
use casemate_spec::{Error, Result};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use crate::place::{Place, kind};

/// The longest of these files that is read.
const LONGEST: u64 = 16 << 20;
/// The highest id that may be asked for by its number.
const HIGHEST: u32 = i32::MAX as u32;

/// Finds a user and groups: `name`, `uid`, `name:group`, `uid:gid`, or nothing for root. A number that the files do not
/// know is taken as it is; a name that they do not know is an error.
///
/// # Errors
/// An unknown name, a number out of range, an unreadable file.
pub fn user(root: &Place, asked: &str, beyond: &[String]) -> Result<UserEntry> {
    let (user, group) = asked.split_once(':').unwrap_or((asked, ""));
    let passwd = read(root, "etc/passwd")?;
    let groups = read(root, "etc/group")?;
    let (mut entry, name) = find_user(&passwd, user)?;
    if !group.is_empty() {
        entry.gid = find_group(&groups, group)?;
    } else if let Some(name) = name {
        entry.groups = lines(&groups)
            .filter(|line| {
                line.fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
            })
            .filter_map(|line| line.number(2))
            .collect();
    }
    for group in beyond {
        entry.groups.push(find_group(&groups, group)?);
    }
    Ok(entry)
}

/// The user's entry, and its name if the file has one for it.
fn find_user<'a>(passwd: &'a str, user: &str) -> Result<(UserEntry, Option<&'a str>)> {
    let number = if user.is_empty() { Some(0) } else { id(user)? };
    let found = lines(passwd).find(|line| match number {
        Some(uid) => line.number(2) == Some(uid),
        None => line.fields.first() == Some(&user),
    });
    match (found, number) {
        (Some(line), _) => {
            let home = line.fields.get(5).filter(|home| !home.is_empty()).map_or("/", |home| home);
            let uid = line.number(2).unwrap_or_default();
            let gid = line.number(3).unwrap_or_default();
            let entry = UserEntry { uid, gid, groups: Vec::new(), home: home.to_owned() };
            Ok((entry, line.fields.first().copied()))
        }
        (None, Some(uid)) => Ok((UserEntry { uid, gid: 0, groups: Vec::new(), home: "/".to_owned() }, None)),
        (None, None) => Err(unknown("user", user, "passwd")),
    }
}

fn find_group(groups: &str, group: &str) -> Result<u32> {
    let number = id(group)?;
    let found = lines(groups).find(|line| match number {
        Some(gid) => line.number(2) == Some(gid),
        None => line.fields.first() == Some(&group),
    });
    found.and_then(|line| line.number(2)).or(number).ok_or_else(|| unknown("group", group, "group"))
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    let name: String = name.chars().filter(|c| !c.is_control()).take(256).collect();
    Error::new(format!("unable to find {what} {name}"), format!("no matching entries in {file} file"))
}

/// A number, if it is one.
fn id(text: &str) -> Result<Option<u32>> {
    match text.parse::<i64>() {
        Err(_) => Ok(None),
        Ok(number) => match u32::try_from(number) {
            Ok(id) if id <= HIGHEST => Ok(Some(id)),
            _ => Err(Error::new("", format!("uids and gids must be in range 0-{HIGHEST}"))),
        },
    }
}

/// One line of either file.
struct Line<'a> {
    fields: Vec<&'a str>,
}

impl Line<'_> {
    fn number(&self, at: usize) -> Option<u32> {
        self.fields.get(at).and_then(|field| field.trim().parse().ok())
    }
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| Line { fields: line.split(':').collect() })
}

/// The file's text; nothing where it is missing. Links are the container's own and lead nowhere else; a pipe or device
/// in its place is not waited for.
fn read(root: &Place, path: &str) -> Result<String> {
    let wrong = |errno: Errno| Error::os(format!("/{path}"), errno.raw_os_error());
    let file = match root.at(path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        other => other.map_err(wrong)?,
    };
    if kind(&fstat(&file).map_err(wrong)?) != FileType::RegularFile {
        return Err(Error::new(format!("/{path}"), "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(format!("/{path}"), &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# no\n\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n42:x:7:8::\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:app,other\nwheel:x:10:app\nwww:x:33:\n";

    #[test]
    fn names_and_numbers() {
        let of = |user: &str| {
            find_user(PASSWD, user).map(|(entry, name)| (entry.uid, entry.gid, entry.home, name))
        };
        assert_eq!(of("").expect("root"), (0, 0, "/root".to_owned(), Some("root")));
        assert_eq!(of("app").expect("app"), (1000, 1001, "/home/app".to_owned(), Some("app")));
        assert_eq!(of("1000").expect("app"), (1000, 1001, "/home/app".to_owned(), Some("app")));
        // A number is never a name.
        assert_eq!(of("42").expect("a number"), (42, 0, "/".to_owned(), None));
        assert_eq!(of("7").expect("an entry"), (7, 8, "/".to_owned(), Some("42")));
        let error = of("nobody").expect_err("unknown");
        assert_eq!(error.to_string(), "unable to find user nobody: no matching entries in passwd file");
        for bad in ["-1", "2147483648", "4294967296"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn groups() {
        assert_eq!(find_group(GROUP, "www").expect("a group"), 33);
        assert_eq!(find_group(GROUP, "77").expect("a number"), 77);
        let error = find_group(GROUP, "no").expect_err("unknown");
        assert_eq!(error.to_string(), "unable to find group no: no matching entries in group file");
    }
}
