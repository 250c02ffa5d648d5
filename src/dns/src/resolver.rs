//! What everybody shares: the directory, the sockets of containers, and the daemon.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use casemate_spec::wire::{Allowed, HexId, Names, Said};
use casemate_spec::{Error, Result};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{AbortHandle, LocalSet};
use tokio::time::Instant;

use crate::asker::Asker;
use crate::daemon::{self, Daemon};
use crate::directory::Directory;
use crate::packet::Packets;
use crate::{door, serve};

/// How long sockets may wait for the daemon's word of whose they are, once the daemon has said everything.
const UNCLAIMED: Duration = Duration::from_secs(60);

/// Everything there is.
#[derive(Debug, Default)]
pub struct Resolver {
    directory: RefCell<Directory>,
    sockets: RefCell<HashMap<HexId, Served>>,
    daemon: Daemon,
    talk: RefCell<Option<Task>>,
    /// The daemon has said everything.
    complete: Cell<bool>,
}

/// A container's sockets, as long as they are served.
#[derive(Debug)]
struct Served {
    since: Instant,
    #[expect(dead_code, reason = "ends with this")]
    task: Task,
}

/// What ends when it is no longer wanted.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The whole program.
///
/// # Errors
/// Standard input is no listening socket.
pub fn run() -> Result<()> {
    let failed = |error: std::io::Error| Error::io("start", &error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let resolver = Rc::new(Resolver::default());
    LocalSet::new().block_on(&runtime, async {
        let door = door::open()?;
        let sweeper = Rc::clone(&resolver);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(UNCLAIMED / 2).await;
                sweeper.sweep(UNCLAIMED);
            }
        });
        door::attend(&resolver, door).await
    })
}

impl Resolver {
    /// What is known.
    pub fn directory(&self) -> Ref<'_, Directory> {
        self.directory.borrow()
    }

    /// Answers at a container's sockets, and no longer at those that it had before.
    pub fn serve(self: &Rc<Self>, container: HexId, udp: UdpSocket, tcp: TcpListener) {
        let asker = Rc::new(Asker::new(Rc::clone(self), container.clone()));
        let task = tokio::task::spawn_local(serve::serve(asker, udp, tcp)).abort_handle();
        let served = Served { since: Instant::now(), task: Task(task) };
        self.sockets.borrow_mut().insert(container, served);
    }

    /// Listens to this daemon, and no longer to the one before.
    pub fn follow(self: &Rc<Self>, socket: OwnedFd) -> std::io::Result<()> {
        let channel = Packets::new(socket)?;
        // The one before is hung up on before the next is heard.
        self.talk.take();
        self.complete.set(false);
        let words = self.daemon.next();
        let talk = tokio::task::spawn_local(daemon::converse(Rc::clone(self), channel, words));
        self.talk.replace(Some(Task(talk.abort_handle())));
        Ok(())
    }

    /// Hears a word of the daemon's.
    pub fn hear(&self, names: Names) {
        match &names {
            Names::Reset => self.complete.set(false),
            Names::Admitted { number, yes } => self.daemon.admitted(*number, *yes),
            Names::Gone { container } => {
                self.sockets.borrow_mut().remove(container);
            }
            _ => {}
        }
        let complete = names == Names::Complete;
        self.directory.borrow_mut().learn(names);
        if complete {
            self.complete.set(true);
            self.sweep(Duration::ZERO);
        }
    }

    /// Tells the daemon; what it does not read is lost.
    pub fn say(&self, said: Said) -> bool {
        self.daemon.say(said)
    }

    /// Has the daemon let a container reach what it has asked for.
    pub async fn admit(&self, container: &HexId, allowed: Vec<Allowed>, seconds: u32) -> bool {
        self.daemon.admit(container, allowed, seconds).await
    }

    /// Closes sockets that nobody has claimed for so long: they would keep network namespaces alive.
    fn sweep(&self, patience: Duration) {
        if self.complete.get() {
            let directory = self.directory.borrow();
            self.sockets.borrow_mut().retain(|container, served| {
                directory.client(container).is_some() || served.since.elapsed() < patience
            });
        }
    }
}
