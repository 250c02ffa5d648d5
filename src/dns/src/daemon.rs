//! The daemon, which knows the names and has addresses let through.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use casemate_spec::wire::{Allowed, HexId, INLINE, Said};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::packet::Packets;
use crate::resolver::Resolver;

/// What it has not read yet.
const UNREAD: usize = 256;
/// How long it may take to let addresses through.
const PATIENCE: Duration = Duration::from_secs(2);

/// Our side of the conversation.
#[derive(Debug, Default)]
pub struct Daemon {
    words: RefCell<Option<mpsc::Sender<Said>>>,
    number: Cell<u64>,
    asked: RefCell<HashMap<u64, oneshot::Sender<bool>>>,
}

impl Daemon {
    /// A conversation begins: what is said from now on is to be sent by whoever has the receiver.
    pub fn next(&self) -> mpsc::Receiver<Said> {
        let (sender, receiver) = mpsc::channel(UNREAD);
        self.words.replace(Some(sender));
        // Nobody answers those any more.
        self.asked.borrow_mut().clear();
        receiver
    }

    /// Says something, unless nobody listens.
    pub fn say(&self, said: Said) -> bool {
        self.words.borrow().as_ref().is_some_and(|words| words.try_send(said).is_ok())
    }

    /// Asks to let addresses through; false is: they are not.
    pub async fn admit(&self, container: &HexId, allowed: Vec<Allowed>, seconds: u32) -> bool {
        let number = self.number.get().wrapping_add(1);
        self.number.set(number);
        let (sender, answer) = oneshot::channel();
        self.asked.borrow_mut().insert(number, sender);
        let told = self.say(Said::Resolved { number, container: container.clone(), allowed, seconds });
        let done = told && matches!(timeout(PATIENCE, answer).await, Ok(Ok(true)));
        self.asked.borrow_mut().remove(&number);
        done
    }

    /// Its answer.
    pub fn admitted(&self, number: u64, yes: bool) {
        if let Some(asked) = self.asked.borrow_mut().remove(&number) {
            // Whoever asked may have lost patience.
            asked.send(yes).ok();
        }
    }
}

/// Hears and says until the daemon is gone. What it said holds on.
pub async fn converse(resolver: Rc<Resolver>, channel: Packets, mut words: mpsc::Receiver<Said>) {
    let hear = async {
        let mut buffer = vec![0; INLINE];
        loop {
            let length = match channel.receive(&mut buffer).await {
                Ok((0, _)) => break,
                Ok((length, _)) => length,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => 0,
                Err(_) => break,
            };
            match serde_json::from_slice(buffer.get(..length).unwrap_or_default()) {
                Ok(names) => resolver.hear(names),
                Err(error) => eprintln!("casemate-dns: daemon: a word that cannot be read: {error}"),
            }
        }
    };
    let say = async {
        while let Some(said) = words.recv().await {
            let Ok(packet) = serde_json::to_vec(&said) else { continue };
            if packet.len() > INLINE || channel.send(&packet).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = hear => {}
        () = say => {}
    }
}
