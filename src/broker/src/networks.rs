//! Networks: whose they are, what is connected to them, and who has which port of the host.

use std::os::fd::OwnedFd;

use casemate_spec::wire::{Allowed, Answer, Endpoint, HexId, Network, Refusal, RefusalKind};

use crate::broker::{Asker, Broker};
use crate::refusal::refuse;

fn not_yet<T>() -> Result<T, Refusal> {
    Err(refuse(RefusalKind::Unsupported, "networks: this build has none"))
}

impl Broker {
    /// Makes a network, or makes it be so.
    pub(crate) fn make_network(&mut self, _asker: &Asker, _network: Network) -> Result<(), Refusal> {
        not_yet()
    }

    /// Removes one.
    pub(crate) fn drop_network(&mut self, _asker: &Asker, _id: &HexId) -> Result<(), Refusal> {
        not_yet()
    }

    /// Connects a running container.
    pub(crate) fn connect_networks(
        &mut self,
        _asker: &Asker,
        _id: &HexId,
        _endpoints: Vec<Endpoint>,
    ) -> Result<(), Refusal> {
        not_yet()
    }

    /// Disconnects a running container.
    pub(crate) fn disconnect_networks(
        &mut self,
        _asker: &Asker,
        _id: &HexId,
        _endpoints: &[HexId],
    ) -> Result<(), Refusal> {
        not_yet()
    }

    /// Lets a running container reach more, for a while.
    pub(crate) fn admit_egress(
        &mut self,
        _asker: &Asker,
        _id: &HexId,
        _allowed: Vec<Allowed>,
        _seconds: u32,
    ) -> Result<(), Refusal> {
        not_yet()
    }

    /// A channel to the resolver.
    pub(crate) fn resolver_channel(&mut self) -> Result<(Answer, Vec<OwnedFd>), Refusal> {
        not_yet()
    }
}
