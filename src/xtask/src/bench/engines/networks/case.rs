//! What is measured of networks.

/// A case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    Run,
    RunNamed,
    Connect,
    Connecting,
    OutsideRate,
    OutsideConnections,
    LocalRate,
    LocalConnections,
    BetweenRate,
    BetweenTrip,
    NamesMedian,
    NamesSlowest,
}

impl Case {
    /// In the order of the table.
    pub const ALL: [Self; 12] = [
        Self::Run,
        Self::RunNamed,
        Self::Connect,
        Self::Connecting,
        Self::OutsideRate,
        Self::OutsideConnections,
        Self::LocalRate,
        Self::LocalConnections,
        Self::BetweenRate,
        Self::BetweenTrip,
        Self::NamesMedian,
        Self::NamesSlowest,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "`docker run --rm IMAGE true`",
            Self::RunNamed => "`docker run --rm --net NETWORK IMAGE true`",
            Self::Connect => "`docker network connect NETWORK C`",
            Self::Connecting => "the same, without the client's start",
            Self::OutsideRate => "published port, from outside: one stream",
            Self::OutsideConnections => "published port, from outside: connections",
            Self::LocalRate => "published port, by 127.0.0.1: one stream",
            Self::LocalConnections => "published port, by 127.0.0.1: connections",
            Self::BetweenRate => "container to container: one stream",
            Self::BetweenTrip => "container to container: there and back",
            Self::NamesMedian => "a name, at 5,000 questions a second: median",
            Self::NamesSlowest => "a name, at 5,000 questions a second: 99th percentile",
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::OutsideRate | Self::LocalRate | Self::BetweenRate => "MB/s",
            Self::OutsideConnections | Self::LocalConnections => "1/s",
            Self::BetweenTrip => "µs",
            _ => "ms",
        }
    }

    /// What we want of the ratio, or of ours.
    pub fn wanted(self) -> &'static str {
        match self {
            Self::Run | Self::RunNamed => "≤ 0.2",
            Self::Connecting => "ours below 10 ms",
            Self::NamesMedian | Self::NamesSlowest => "ours below 1 ms",
            Self::Connect | Self::BetweenTrip => "≤ 1",
            _ => "≥ 1",
        }
    }
}
