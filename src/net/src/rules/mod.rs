//! nftables, by its netlink protocol: two tables of our own, and nothing of anybody else's is ever looked at.
//!
//! Rules are written once, with the tables; what is true of a network or a container stands in sets. A change is one
//! transaction.

pub mod batch;
mod expression;
mod facts;
mod inside;
mod ip;
mod ports;
pub mod sets;

use casemate_spec::Result;
pub use facts::{admitted, of_endpoint, of_kin, of_network};
pub use inside::answer_names;
use sets::{Element, Value};

use crate::netlink::Socket;
use batch::{BRIDGE, Batch, INET};

/// Our tables in the network namespace in which this was opened.
#[derive(Debug)]
pub struct Rules<'a> {
    socket: Socket,
    table: &'a str,
}

impl<'a> Rules<'a> {
    /// By the name of both tables.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(table: &'a str) -> Result<Self> {
        Ok(Self { socket: Socket::open(Some(rustix::net::netlink::NETFILTER))?, table })
    }

    /// The tables' name, which is the instance's.
    pub fn name(&self) -> &'a str {
        self.table
    }

    /// Adds elements, and the tables first where they are not there.
    ///
    /// # Errors
    /// The kernel's; exit status 3 where a key is somebody else's.
    pub fn add(&self, elements: &[Element]) -> Result<()> {
        self.change(
            |batch, classes| {
                for element in elements.iter().filter(|element| element.set != &sets::CLASSES) {
                    batch.add(element);
                }
                for class in classes {
                    batch.add_new(class);
                    ip::allow(batch, class);
                }
            },
            elements,
        )
    }

    /// Adds elements that fade, for their whole time again where they are there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn renew(&self, elements: &[Element]) -> Result<()> {
        self.change(
            |batch, classes| {
                for element in elements.iter().filter(|element| element.set != &sets::CLASSES) {
                    batch.remove(element);
                    batch.add(element);
                }
                for class in classes {
                    batch.add_new(class);
                    ip::allow(batch, class);
                }
            },
            elements,
        )
    }

    /// Two of us may find the tables missing, or a class: the later one looks again.
    fn change(&self, fill: impl Fn(&mut Batch<'_>, &[&Element]), elements: &[Element]) -> Result<()> {
        let mut tries = 0;
        loop {
            let mut batch = Batch::new(self.table);
            let fresh = !batch::has_table(&self.socket, INET, self.table)?;
            if fresh {
                tables(&mut batch, true);
            }
            let mut classes: Vec<&Element> = Vec::new();
            for class in elements.iter().filter(|element| element.set == &sets::CLASSES) {
                let known = !fresh && batch::has_element(&self.socket, self.table, class)?;
                if !known && !classes.contains(&class) {
                    classes.push(class);
                }
            }
            fill(&mut batch, &classes);
            match batch.commit(&self.socket) {
                Err(error) if error.exit_code() == 1 && tries < 5 && is_race(&error) => tries += 1,
                done => return done,
            }
        }
    }

    /// Takes elements away; what is not there is as good. Classes stay: what they have rules for is harmless.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, elements: &[Element]) -> Result<()> {
        let mut batch = Batch::new(self.table);
        elements.iter().filter(|element| element.set != &sets::CLASSES).for_each(|one| batch.remove(one));
        batch.commit(&self.socket)
    }

    /// Puts these in place of all that is there, in one moment.
    ///
    /// # Errors
    /// The kernel's.
    pub fn replace(&self, elements: &[Element]) -> Result<()> {
        let mut batch = Batch::new(self.table);
        for family in [INET, BRIDGE] {
            // There, so that it can be removed.
            batch.table(family, false);
            batch.delete_table(family);
        }
        tables(&mut batch, false);
        let mut classes: Vec<&Element> = Vec::new();
        for element in elements {
            if element.set != &sets::CLASSES {
                batch.add(element);
            } else if !classes.contains(&element) {
                classes.push(element);
                batch.add(element);
                ip::allow(&mut batch, element);
            }
        }
        batch.commit(&self.socket)
    }

    /// Removes both tables.
    ///
    /// # Errors
    /// The kernel's.
    pub fn leave(&self) -> Result<()> {
        let mut batch = Batch::new(self.table);
        for family in [INET, BRIDGE] {
            batch.table(family, false);
            batch.delete_table(family);
        }
        batch.commit(&self.socket)
    }
}

fn is_race(error: &casemate_spec::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.errno().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::EXIST | Errno::NOENT))
}

fn tables(batch: &mut Batch<'_>, alone: bool) {
    for family in [INET, BRIDGE] {
        batch.table(family, alone);
    }
    for (set, number) in sets::ALL.iter().zip(1..) {
        batch.set(number, set);
    }
    ip::chains(batch);
    ports::chains(batch);
}

/// A class' values.
fn class(protocol: u8, ports: Option<(u16, u16)>) -> [Value; 2] {
    [Value::protocol(protocol), Value::range(ports.unwrap_or((0, u16::MAX)))]
}
