//! One change of the rules: all of it, or none.

use casemate_spec::{Error, Result};
use rustix::io::Errno;

use super::expression::Expression;
use super::sets::{Element, Set};
use crate::netlink::{self, APPEND, CREATE, EXCL, Socket, Writer};

/// `NFNL_SUBSYS_NFTABLES`
const SUBSYSTEM: u16 = 10;
const BEGIN: u16 = 16;
const END: u16 = 17;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;

/// Both families of IP at once.
pub const INET: u8 = 1;
/// What passes from port to port of a bridge.
pub const BRIDGE: u8 = 7;
/// IPv4 alone.
pub const IPV4: u8 = 2;

/// The kernel's words for "somebody else changed it at the same time".
const ROUNDS: usize = 16;

/// A change.
#[derive(Debug)]
pub struct Batch<'a> {
    table: &'a str,
    items: Vec<Item>,
}

/// A message of it.
#[derive(Debug)]
struct Item {
    kind: u16,
    flags: u16,
    family: u8,
    body: Vec<u8>,
    /// For people, when it fails.
    what: String,
    /// It is a removal, and what is not there is as good.
    spare: bool,
    /// Somebody else may have what is asked for.
    claim: bool,
}

/// Where a chain stands in a packet's way.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// `NF_INET_*` or `NF_BR_*`
    pub number: u32,
    /// Lower ones come first.
    pub priority: i32,
}

impl<'a> Batch<'a> {
    /// Nothing yet.
    pub fn new(table: &'a str) -> Self {
        Self { table, items: Vec::new() }
    }

    /// The table's name.
    pub fn name(&self) -> &'a str {
        self.table
    }

    fn item(&mut self, kind: u16, flags: u16, family: u8, what: &str, body: impl FnOnce(&mut Writer)) {
        let mut writer = Writer::default();
        body(&mut writer);
        let item = Item {
            kind,
            flags,
            family,
            body: writer.bytes(),
            what: what.to_owned(),
            spare: false,
            claim: false,
        };
        self.items.push(item);
    }

    /// A table; an error where it is there and must not be.
    pub fn table(&mut self, family: u8, alone: bool) {
        let table = self.table;
        let flags = if alone { CREATE | EXCL } else { CREATE };
        self.item(NEW_TABLE, flags, family, "table", |body| {
            body.text(1, table);
            body.network(2, 0);
        });
    }

    /// Removes a table with all that is in it.
    pub fn delete_table(&mut self, family: u8) {
        let table = self.table;
        self.item(DELETE_TABLE, 0, family, "table", |body| body.text(1, table));
    }

    /// A chain, at a place of its own in a packet's way or called by others.
    pub fn chain(&mut self, family: u8, name: &str, hook: Option<Hook>) {
        let table = self.table;
        self.item(NEW_CHAIN, CREATE, family, name, |body| {
            body.text(1, table);
            body.text(3, name);
            if let Some(hook) = hook {
                body.nest(4, |place| {
                    place.network(1, hook.number);
                    place.attribute(2, &hook.priority.to_be_bytes());
                });
                body.network(5, 1);
                body.text(7, hook.kind);
            }
        });
    }

    /// One more rule at a chain's end.
    pub fn rule(&mut self, family: u8, chain: &str, expressions: impl IntoIterator<Item = Expression>) {
        let table = self.table;
        self.item(NEW_RULE, CREATE | APPEND, family, chain, |body| {
            body.text(1, table);
            body.text(2, chain);
            body.nest(4, |list| expressions.into_iter().for_each(|one| list.raw(&one.bytes())));
        });
    }

    /// A set or a map.
    pub fn set(&mut self, number: u32, set: &Set) {
        let table = self.table;
        self.item(NEW_SET, CREATE, set.family, set.name, |body| {
            body.text(1, table);
            set.describe(number, body);
        });
    }

    /// Puts something into a set. What stands in a map already, and otherwise, is an error.
    pub fn add(&mut self, element: &Element) {
        self.element(NEW_ELEMENT, CREATE, element);
        self.last(|item| item.claim = true);
    }

    /// The same, and an error where it is there.
    pub fn add_new(&mut self, element: &Element) {
        self.element(NEW_ELEMENT, CREATE | EXCL, element);
    }

    /// Takes something out of a set.
    pub fn remove(&mut self, element: &Element) {
        self.element(DELETE_ELEMENT, 0, element);
        self.last(|item| item.spare = true);
    }

    fn element(&mut self, kind: u16, flags: u16, element: &Element) {
        let table = self.table;
        self.item(kind, flags, element.set.family, &element.what, |body| {
            body.text(1, table);
            body.text(2, element.set.name);
            body.nest(3, |list| element.write(kind == NEW_ELEMENT, list));
        });
    }

    fn last(&mut self, change: impl FnOnce(&mut Item)) {
        if let Some(item) = self.items.last_mut() {
            change(item);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        let envelope = |writer: &mut Writer, kind| {
            writer.message(kind, 0, 0, |body| {
                body.raw(&[0, 0]);
                body.raw(&SUBSYSTEM.to_be_bytes());
            });
        };
        envelope(&mut writer, BEGIN);
        for (item, number) in self.items.iter().zip(1..) {
            writer.message(SUBSYSTEM << 8 | item.kind, item.flags, number, |body| {
                body.raw(&[item.family, 0, 0, 0]);
                body.raw(&item.body);
            });
        }
        envelope(&mut writer, END);
        writer.bytes()
    }

    /// Makes the change. What is spare and not there is left out, and everything else tried again.
    ///
    /// # Errors
    /// The kernel's, about the first that it refused; nothing has changed then. Exit status 3 where somebody has what was
    /// claimed.
    pub fn commit(mut self, socket: &Socket) -> Result<()> {
        for _ in 0..ROUNDS {
            if self.items.is_empty() {
                return Ok(());
            }
            let refused = self.attempt(socket)?;
            if refused.is_empty() {
                return Ok(());
            }
            let mut gone = Vec::new();
            for (number, errno) in refused {
                let at = usize::try_from(number).unwrap_or(0).wrapping_sub(1);
                match self.items.get(at) {
                    Some(item) if item.spare && errno == Errno::NOENT => gone.push(at),
                    Some(item) => return Err(refusal(item, errno)),
                    None => return Err(Error::os("rules", errno.raw_os_error())),
                }
            }
            let mut at = 0..;
            self.items.retain(|_| at.next().is_none_or(|at| !gone.contains(&at)));
        }
        Err(Error::new("rules", "somebody changes them all the time"))
    }

    /// Which messages were refused, by number, and why.
    fn attempt(&self, socket: &Socket) -> Result<Vec<(u32, Errno)>> {
        let failed = |errno: Errno| Error::os("rules", errno.raw_os_error());
        let mut refused = Vec::new();
        // Nobody listens in the middle of a transaction: what goes wrong is heard after it.
        socket.send(&self.bytes()).map_err(failed)?;
        loop {
            match socket.receive(false) {
                Ok(bytes) => refused.extend(netlink::messages(&bytes).filter_map(|message| {
                    netlink::failure(&message).map(|errno| (netlink::about(&message), errno))
                })),
                Err(Errno::AGAIN) => return Ok(refused),
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
}

fn refusal(item: &Item, errno: Errno) -> Error {
    let taken = item.claim && matches!(errno, Errno::BUSY | Errno::EXIST | Errno::NOTEMPTY);
    let error = if taken {
        Error::new(item.what.clone(), "somebody else has it")
    } else {
        Error::os(item.what.clone(), errno.raw_os_error())
    };
    if taken { error.exit(3) } else { error }
}

/// Whether a table is there.
///
/// # Errors
/// The kernel's.
pub fn has_table(socket: &Socket, family: u8, table: &str) -> Result<bool> {
    let asked = socket.ask(SUBSYSTEM << 8 | GET_TABLE, 0, |body| {
        body.raw(&[family, 0, 0, 0]);
        body.text(1, table);
    });
    match asked {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::os("rules", errno.raw_os_error())),
    }
}

/// Whether something is in a set.
///
/// # Errors
/// The kernel's.
pub fn has_element(socket: &Socket, table: &str, element: &Element) -> Result<bool> {
    const GET_ELEMENT: u16 = 13;
    let asked = socket.ask(SUBSYSTEM << 8 | GET_ELEMENT, 0, |body| {
        body.raw(&[element.set.family, 0, 0, 0]);
        body.text(1, table);
        body.text(2, element.set.name);
        body.nest(3, |list| element.write(false, list));
    });
    match asked {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::os("rules", errno.raw_os_error())),
    }
}
