//! What a create that failed has made so far is taken back, in the reverse order.

use std::sync::Arc;

use casemate_spec::wire::{Ask, HexId, Tenant};

use crate::files::Volume;
use crate::files::volumes::{self, Hold};
use crate::{Caller, Engine};

/// What there is to take back.
#[derive(Debug)]
pub struct Undo {
    engine: Arc<Engine>,
    name: Option<(Tenant, String)>,
    volumes: Vec<Arc<Volume>>,
    /// Kept from removal until it has come about, or not.
    held: Vec<Hold>,
    place: Option<HexId>,
}

impl Undo {
    /// Nothing so far.
    pub fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine), name: None, volumes: Vec::new(), held: Vec::new(), place: None }
    }

    /// A name was taken.
    pub fn name(&mut self, caller: &Caller, name: &str) {
        self.name = Some((caller.tenant.clone(), name.to_owned()));
    }

    /// A volume was made.
    pub fn volume(&mut self, volume: &Arc<Volume>) {
        self.volumes.push(Arc::clone(volume));
    }

    /// A volume is to stay until it is known who has it.
    pub fn hold(&mut self, hold: Hold) {
        self.held.push(hold);
    }

    /// A place was asked for.
    pub fn place(&mut self, id: &HexId) {
        self.place = Some(id.clone());
    }

    /// It has come about: nothing is taken back.
    pub fn nothing(&mut self) {
        (self.name, self.place) = (None, None);
        self.volumes.clear();
        self.held.clear();
    }

    /// Takes back. What cannot be is left to the next start, which removes places that nobody knows.
    pub async fn all(mut self) {
        self.held.clear();
        if let Some(id) = self.place
            && let Err(failure) = self.engine.broker.done(Ask::RemoveContainer { id: id.clone() }, &[]).await
        {
            eprintln!("casemated: container {}: its place stays: {failure}", id.short());
        }
        for volume in self.volumes {
            if let Err(failure) = volumes::remove(&self.engine, &volume).await {
                eprintln!("casemated: volume {}: it stays: {failure}", volume.name);
            }
        }
        if let Some((tenant, name)) = self.name {
            self.engine.containers.release(&tenant, &name);
        }
    }
}
