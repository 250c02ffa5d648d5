//! An image's configuration, as its author wrote it. Its bytes are its name: they are kept as they came, and only read.

use std::collections::BTreeMap;

use casemate_spec::wire::HexId;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::reference::parse_digest;
use crate::{Failure, Result};

/// The largest configuration that is read, in bytes.
pub const LARGEST: usize = 4 << 20;
/// The most layers an image may have: what the broker puts beneath a container, and no more.
pub const MOST_LAYERS: usize = 120;

/// The document.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Of the processor: `amd64`.
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    /// Of the system: `linux`.
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    /// Of the processor, more closely.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Of the system, more closely.
    #[serde(
        rename = "os.version",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Who made it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// When, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// What a commit said of it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Of the Docker that made it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    /// Defaults of its containers.
    #[serde(deserialize_with = "or_default")]
    pub config: Defaults,
    /// The layers, lowest first.
    #[serde(deserialize_with = "or_default")]
    pub rootfs: RootFs,
    /// How they came to be.
    #[serde(deserialize_with = "or_default")]
    pub history: Vec<History>,
}

/// Layers by the digests of their uncompressed archives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// `sha256:…`, lowest first.
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<String>,
}

/// A step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which command.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// By whom.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What was said of it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// It made no layer.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

/// What a container has unless it is told otherwise. Written out, it is the `Config` of an image's inspection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Defaults {
    /// User and group.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// `80/tcp` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// `NAME=value`
    pub env: Option<Vec<String>>,
    /// The command's beginning.
    #[serde(deserialize_with = "words")]
    pub entrypoint: Option<Vec<String>>,
    /// The command, or its end.
    #[serde(deserialize_with = "words")]
    pub cmd: Option<Vec<String>>,
    /// How to see that it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Places that become anonymous volumes.
    pub volumes: Option<BTreeMap<String, Value>>,
    /// Where the process starts.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// What builds on it runs these first.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// What `stop` sends.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// How long `stop` waits, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// What a command in one string is given to.
    #[serde(deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// A health check; times in nanoseconds, 0 is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `NONE`, or `CMD` or `CMD-SHELL` and what to run.
    #[serde(deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Between two.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Failures that do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two of these.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// So many failures make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It is too large, is none, or has more layers than a container can stand on.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LARGEST {
            return Err(Failure::invalid(format!("image configuration: larger than {LARGEST} bytes")));
        }
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|error| Failure::invalid(format!("image configuration: {error}")))?;
        config.diff_ids()?;
        Ok(config)
    }

    /// The layers, lowest first.
    ///
    /// # Errors
    /// One is named in a way that none can be, or there are too many.
    pub fn diff_ids(&self) -> Result<Vec<HexId>> {
        if self.rootfs.diff_ids.len() > MOST_LAYERS {
            let message = format!("image configuration: more than {MOST_LAYERS} layers");
            return Err(Failure::invalid(message));
        }
        self.rootfs.diff_ids.iter().map(|text| parse_digest(text)).collect()
    }

    /// When it was made, in nanoseconds since 1970; 0 when it does not say.
    pub fn created_at(&self) -> u64 {
        self.created.as_deref().map_or(0, nanoseconds)
    }
}

/// A time of RFC 3339 in nanoseconds since 1970; 0 for none and for what lies before.
pub fn nanoseconds(text: &str) -> u64 {
    let time = text.parse::<jiff::Timestamp>();
    time.ok().and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
}

/// Go writes `null` for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Old configurations have one string where a list is meant.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::deserialize(from)?.map(|words| match words {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    }))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_strings_of_old_images_are_read() {
        let config = Config::parse(
            br#"{"architecture":"amd64","os":"linux","config":{"Cmd":"sh","Env":null,"Labels":null,"User":null},
                "history":null,"rootfs":{"type":"layers","diff_ids":null},"unknown":{"a":[1]}}"#,
        )
        .expect("a configuration");
        assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
        assert!(config.history.is_empty());
        assert_eq!(Config::parse(br#"{"config":null,"rootfs":null}"#).expect("empty").created_at(), 0);
    }

    #[test]
    fn what_names_no_layer_is_refused() {
        for bad in [&b"{"[..], br#"{"rootfs":{"diff_ids":["sha256:../../x"]}}"#, br#"{"config":3}"#] {
            assert!(Config::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let many = vec![format!("sha256:{}", "0".repeat(64)); MOST_LAYERS + 1];
        let config = serde_json::json!({ "rootfs": { "type": "layers", "diff_ids": many } });
        assert!(Config::parse(config.to_string().as_bytes()).is_err());
    }

    #[test]
    fn defaults_are_written_as_docker_does() {
        let text = serde_json::to_value(Defaults::default()).expect("json");
        let expected = serde_json::json!({
            "User": "", "Env": null, "Entrypoint": null, "Cmd": null, "Volumes": null,
            "WorkingDir": "", "OnBuild": null, "Labels": null
        });
        assert_eq!(text, expected);
    }
}
