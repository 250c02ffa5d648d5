//! The child's life, in typed stages: born, housed, pivoted, stripped, waiting, sealed.
//!
//! From the birth on the child neither allocates nor formats: all strings and vectors were prepared by the parent, and
//! a failure is a place in the plan and an errno. Each stage can be made only by the one before it, so the order of the
//! steps, which is the order that keeps a container in, does not compile otherwise.

mod born;
mod console;
mod hook;
mod house;
mod landlock;
mod missing;
mod mounts;
mod pivoted;
mod program;
mod resolve;
mod stripped;
mod tree;
mod waiting;

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{BorrowedFd, OwnedFd};

use ::landlock::RulesetCreated;

use crate::channel::Channel;
use crate::plan::{Plan, Space};
use crate::report::{Fault, Record};
use crate::sys::clone::exit_now;
use crate::sys::exec::Vector;

pub(crate) use self::landlock::{reason, restrict};
pub(crate) use born::{enter, relay};
pub(crate) use resolve::open_proc;
pub(crate) use stripped::drop_bounding;
pub use tree::Tree;

/// The descriptors that the child is born with. All are closed by execve(2).
#[derive(Debug)]
pub struct Hands {
    /// To the parent.
    pub channel: Channel,
    /// `tasks` files of v1 control groups; the child writes itself in.
    pub tasks: Vec<OwnedFd>,
    /// Namespaces to join, in the plan's order.
    pub joins: Vec<OwnedFd>,
    /// The process whose namespaces are entered (exec), and which ones.
    pub target: Option<(OwnedFd, Vec<Space>)>,
    /// The plan's sources, in order; empty where the parent could not open one.
    pub trees: Vec<OnceCell<Tree>>,
    /// The host's procfs, proven genuine.
    pub proc: OwnedFd,
    /// Where `start` connects to.
    pub listener: Option<OwnedFd>,
    /// Where the pseudo-terminal's master is sent.
    pub console: Option<OwnedFd>,
    /// What child-run hooks read: the state while creating, and when created.
    pub states: Option<(OwnedFd, OwnedFd)>,
    /// Held until execve(2) and used for nothing: the lock that says "not yet started".
    #[expect(dead_code, reason = "its being open is its use")]
    pub held: Vec<OwnedFd>,
}

/// Argument and environment vectors, built before the birth.
pub struct Vectors {
    /// The program's arguments.
    pub argv: Vector,
    /// The program's environment.
    pub envp: Vector,
    /// Of the `createContainer` hooks.
    pub create_hooks: Vec<(Vector, Vector)>,
    /// Of the `startContainer` hooks.
    pub start_hooks: Vec<(Vector, Vector)>,
}

/// What all stages share.
struct Life<'a> {
    plan: &'a Plan,
    hands: &'a Hands,
    vectors: &'a Vectors,
    /// Set once `start` has connected: it, not the creator, hears of failures from then on.
    starter: OnceCell<Channel>,
    /// The pseudo-terminal's slave, once opened.
    slave: OnceCell<OwnedFd>,
    /// The new root, once attached.
    root: OnceCell<OwnedFd>,
    /// The candidate that was found to be a program.
    program: Cell<usize>,
    /// The Landlock domain that waits to be entered.
    domain: RefCell<Option<RulesetCreated>>,
}

impl Life<'_> {
    fn talk(&self) -> &Channel {
        self.starter.get().unwrap_or(&self.hands.channel)
    }

    fn tree(&self, index: usize) -> Option<&Tree> {
        self.hands.trees.get(index).and_then(OnceCell::get)
    }

    fn proc(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.hands.proc)
    }
}

/// Lives a container's first process, or one that enters a running container, up to its execve(2).
pub fn live(plan: &Plan, vectors: &Vectors, hands: &Hands) -> ! {
    let life = Life {
        plan,
        hands,
        vectors,
        starter: OnceCell::new(),
        slave: OnceCell::new(),
        root: OnceCell::new(),
        program: Cell::new(0),
        domain: RefCell::new(None),
    };
    let born = born::Born::begin(&life);
    let started = match hands.target {
        Some(_) => born
            .and_then(born::Born::visit)
            .and_then(pivoted::Pivoted::strip)
            .and_then(waiting::Started::at_once),
        None => born
            .and_then(born::Born::house)
            .and_then(house::Housed::enter)
            .and_then(pivoted::Pivoted::strip)
            .and_then(waiting::Started::wait),
    };
    let fault = started.and_then(waiting::Started::seal).map_or_else(|fault| fault, waiting::Sealed::run);
    report(&life, fault)
}

fn report(life: &Life<'_>, fault: Fault) -> ! {
    match life.talk().send(Record::Fault(fault)) {
        Ok(()) => exit_now(1),
        // Nobody listens any more: the parent was killed, and there is nothing left to tell.
        Err(_gone) => exit_now(2),
    }
}
