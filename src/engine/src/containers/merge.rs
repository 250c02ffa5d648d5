//! What a container has from its image where it was asked for nothing else.

use std::collections::BTreeMap;

use super::{Config, Healthcheck, Member, Words};
use crate::images::Defaults;
use crate::{Failure, Result};

/// Merges, as Docker does.
///
/// # Errors
/// There is nothing to run.
pub fn merge(asked: &mut Config, image: &Defaults) -> Result<()> {
    let empty = |words: &Option<Words>| words.as_ref().is_none_or(|words| words.0.is_empty());
    if empty(&asked.entrypoint) {
        // An entrypoint that is asked for makes the image's arguments meaningless; one that is asked away does not.
        if empty(&asked.cmd) {
            asked.cmd = image.cmd.clone().map(Words);
        }
        if asked.entrypoint.is_none() {
            asked.entrypoint = image.entrypoint.clone().map(Words);
        }
    }
    if asked.entrypoint.as_ref().is_some_and(|words| words.0 == [""]) {
        asked.entrypoint = None;
    }
    if empty(&asked.entrypoint) && empty(&asked.cmd) {
        return Err(Failure::invalid("no command specified"));
    }
    let or = |asked: &mut String, image: &str| {
        if asked.is_empty() {
            image.clone_into(asked);
        }
    };
    or(&mut asked.user, &image.user);
    or(&mut asked.working_dir, &image.working_dir);
    or(&mut asked.stop_signal, &image.stop_signal);
    asked.stop_timeout = asked.stop_timeout.or(image.stop_timeout);
    if empty(&asked.shell) {
        asked.shell = image.shell.clone().map(Words);
    }
    environment(asked, image);
    members(&mut asked.exposed_ports, image.exposed_ports.as_ref());
    members(&mut asked.volumes, image.volumes.as_ref());
    let labels = asked.labels.get_or_insert_default();
    for (name, value) in image.labels.iter().flatten() {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    health(asked, image);
    Ok(())
}

fn environment(asked: &mut Config, image: &Defaults) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let env = asked.env.get_or_insert_default();
    let set: Vec<String> = env.iter().map(|entry| name(entry)).collect();
    env.extend(image.env.iter().flatten().filter(|entry| !set.contains(&name(entry))).cloned());
}

fn members<T>(asked: &mut Option<BTreeMap<String, Member>>, image: Option<&BTreeMap<String, T>>) {
    let Some(image) = image.filter(|image| !image.is_empty()) else { return };
    let asked = asked.get_or_insert_default();
    for name in image.keys() {
        asked.insert(name.clone(), Member);
    }
}

fn health(asked: &mut Config, image: &Defaults) {
    let Some(image) = &image.healthcheck else { return };
    let check = asked.healthcheck.get_or_insert_with(Healthcheck::default);
    if check.test.as_ref().is_none_or(|test| test.0.is_empty()) {
        check.test = Some(Words(image.test.clone()));
    }
    let or = |asked: &mut i64, image: i64| {
        if *asked == 0 {
            *asked = image;
        }
    };
    or(&mut check.interval, image.interval);
    or(&mut check.timeout, image.timeout);
    or(&mut check.start_period, image.start_period);
    or(&mut check.start_interval, image.start_interval);
    or(&mut check.retries, image.retries);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Option<Words> {
        Some(Words(words.iter().map(|word| (*word).to_owned()).collect()))
    }

    fn image() -> Defaults {
        serde_json::from_str(
            r#"{ "Entrypoint": ["/init"], "Cmd": ["serve"], "Env": ["PATH=/bin", "A=1"], "User": "web",
                 "Volumes": { "/data": {} }, "ExposedPorts": { "80/tcp": {} }, "WorkingDir": "/srv",
                 "Labels": { "a": "image", "b": "image" }, "StopSignal": "SIGQUIT",
                 "Healthcheck": { "Test": ["CMD", "true"], "Interval": 7 } }"#,
        )
        .expect("an image's defaults")
    }

    fn command(entrypoint: Option<Words>, cmd: Option<Words>) -> Vec<String> {
        let mut config = Config { entrypoint, cmd, ..Config::default() };
        merge(&mut config, &image()).expect("something to run");
        config.command()
    }

    #[test]
    fn commands_are_put_together_as_docker_does() {
        assert_eq!(command(None, None), ["/init", "serve"]);
        assert_eq!(command(None, words(&["sh"])), ["/init", "sh"]);
        assert_eq!(command(words(&["/my"]), None), ["/my"]);
        assert_eq!(command(words(&["/my"]), words(&["x"])), ["/my", "x"]);
        assert_eq!(command(words(&[]), None), ["serve"]);
        assert_eq!(command(words(&[""]), words(&["x"])), ["x"]);
        let mut nothing = Config { entrypoint: words(&[""]), ..Config::default() };
        assert_eq!(merge(&mut nothing, &image()).expect_err("nothing").message, "no command specified");
    }

    #[test]
    fn what_was_asked_wins() {
        let mut config = Config {
            env: Some(vec!["A=2".to_owned(), "B".to_owned()]),
            labels: Some([("a".to_owned(), "asked".to_owned())].into()),
            healthcheck: Some(Healthcheck { retries: 2, ..Healthcheck::default() }),
            volumes: Some([("/more".to_owned(), Member)].into()),
            ..Config::default()
        };
        merge(&mut config, &image()).expect("merged");
        assert_eq!(config.env.expect("env"), ["A=2", "B", "PATH=/bin"]);
        assert_eq!(
            config.labels.expect("labels"),
            [("a", "asked"), ("b", "image")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
        );
        let check = config.healthcheck.expect("a check");
        assert_eq!((check.interval, check.retries), (7, 2));
        assert_eq!(config.volumes.expect("volumes").len(), 2);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("web", "/srv"));
        assert_eq!(config.exposed_ports.expect("ports").len(), 1);
    }
}
