//! How a container is, in the words of `docker ps`.

use super::{State, Status};

/// Docker's line for a state.
pub fn line(state: &State, now: u64) -> String {
    let since = |moment: u64| ago(now.saturating_sub(moment));
    let up = || format!("Up {}", since(state.started_at));
    match state.status {
        Status::Paused => format!("{} (Paused)", up()),
        Status::Running => match state.health.as_ref().map(|health| health.status.as_str()) {
            None | Some("" | "none") => up(),
            Some("starting") => format!("{} (health: starting)", up()),
            Some(other) => format!("{} ({other})", up()),
        },
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Created => "Created".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
    }
}

/// A duration in nanoseconds as Docker tells it.
fn ago(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    // Docker rounds hours, and cuts everything else.
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{} days", hours / 24),
        () if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 730 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::Health;

    #[test]
    fn durations_are_dockers() {
        let (minute, hour) = (60, 3600);
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (minute, "About a minute"),
            (119, "About a minute"),
            (2 * minute, "2 minutes"),
            (hour, "About an hour"),
            (hour * 3 / 2, "2 hours"),
            (47 * hour, "47 hours"),
            (48 * hour, "2 days"),
            (24 * hour * 14, "2 weeks"),
            (24 * hour * 60, "2 months"),
            (24 * hour * 730, "2 years"),
        ] {
            assert_eq!(ago(seconds * 1_000_000_000), words, "{seconds}");
        }
    }

    #[test]
    fn lines_are_dockers() {
        let second = 1_000_000_000;
        let state = |status| State {
            status,
            started_at: second,
            finished_at: 5 * second,
            exit_code: 4,
            ..State::default()
        };
        let now = 8 * second;
        assert_eq!(line(&state(Status::Created), now), "Created");
        assert_eq!(line(&state(Status::Running), now), "Up 7 seconds");
        assert_eq!(line(&state(Status::Paused), now), "Up 7 seconds (Paused)");
        assert_eq!(line(&state(Status::Exited), now), "Exited (4) 3 seconds ago");
        assert_eq!(line(&state(Status::Restarting), now), "Restarting (4) 3 seconds ago");
        let mut well = state(Status::Running);
        well.health = Some(Health { status: "healthy".to_owned(), ..Health::default() });
        assert_eq!(line(&well, now), "Up 7 seconds (healthy)");
        well.health = Some(Health { status: "starting".to_owned(), ..Health::default() });
        assert_eq!(line(&well, now), "Up 7 seconds (health: starting)");
    }
}
