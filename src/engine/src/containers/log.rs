//! `LogConfig`: where output is kept.

use std::collections::BTreeMap;

use casemate_spec::wire::LogOrder;

use super::{Container, LogConfig};
use crate::{Failure, Result, Settings};

/// What is asked, or the operator's default where nothing is.
pub fn settled(asked: &LogConfig, settings: &Settings) -> LogConfig {
    let mut settled = asked.clone();
    if settled.driver.is_empty() || settled.driver == "default" {
        settled.driver =
            if settings.log_driver.is_empty() { "json-file".to_owned() } else { settings.log_driver.clone() };
    }
    let options = settled.config.get_or_insert_default();
    if settled.driver == settings.log_driver {
        for (name, value) in &settings.log_opts {
            options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    settled
}

/// Whether there is such a driver, with such options.
///
/// # Errors
/// In Docker's words.
pub fn check(asked: &LogConfig) -> Result<()> {
    let known: &[&str] = match asked.driver.as_str() {
        "json-file" => {
            &["max-size", "max-file", "labels", "labels-regex", "env", "env-regex", "tag", "compress"]
        }
        "journald" => &["labels", "labels-regex", "env", "env-regex", "tag"],
        // Docker takes any option where nothing is kept.
        "none" => return Ok(()),
        other => {
            return Err(Failure::invalid(format!("logger: no log driver named '{other}' is registered")));
        }
    };
    for (name, value) in asked.config.iter().flatten() {
        let refuse = |why: String| Err(Failure::invalid(why));
        match name.as_str() {
            "mode" if value == "blocking" => {}
            "mode" | "max-buffer-size" => {
                return refuse(format!(
                    "log opt '{name}': output waits until it is kept: only mode=blocking is"
                ));
            }
            name if !known.contains(&name) => {
                return refuse(format!("unknown log opt '{name}' for {} log driver", asked.driver));
            }
            "labels-regex" | "env-regex" => {
                return refuse(format!("log opt '{name}' is not available in this version"));
            }
            "compress" if value != "false" => {
                return refuse("log opt 'compress' is not available in this version".to_owned());
            }
            _ => {}
        }
    }
    limits(asked).map(drop)
}

fn limits(asked: &LogConfig) -> Result<(u64, u32)> {
    let option =
        |name: &str| asked.config.iter().flatten().find(|(key, _)| *key == name).map(|(_, value)| value);
    let max_size = match option("max-size") {
        None => 0,
        Some(text) if text == "-1" => 0,
        Some(text) => size(text).filter(|size| *size > 0).ok_or_else(|| {
            Failure::invalid(format!("invalid value for max-size: {text:?}: expected a size such as 10m"))
        })?,
    };
    let max_files = match option("max-file") {
        None => 1,
        Some(text) => text.parse().ok().filter(|files| (1..=1000).contains(files)).ok_or_else(|| {
            Failure::invalid(format!("invalid value for max-file: {text:?}: expected a number of 1 to 1000"))
        })?,
    };
    if max_files > 1 && max_size == 0 {
        return Err(Failure::invalid("max-file cannot be greater than 1 when max-size is not set"));
    }
    Ok((max_size, max_files))
}

/// A size with a unit of 1024s, as Docker reads it.
pub fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let scaled = number.parse::<f64>().ok()? * (1_u64 << shift) as f64;
    (scaled < 9e18).then_some(scaled as u64)
}

/// As the shim is told.
///
/// # Errors
/// An option is none.
pub fn order(container: &Container, asked: &LogConfig) -> Result<LogOrder> {
    match asked.driver.as_str() {
        "none" => Ok(LogOrder::None),
        "journald" => Ok(LogOrder::Journald { fields: fields(container, asked) }),
        _ => {
            let (max_size, max_files) = limits(asked)?;
            Ok(LogOrder::JsonFile { max_size, max_files })
        }
    }
}

fn fields(container: &Container, asked: &LogConfig) -> Vec<(String, String)> {
    let mut fields = BTreeMap::from([
        ("CONTAINER_ID".to_owned(), container.id.short().to_owned()),
        ("CONTAINER_ID_FULL".to_owned(), container.id.to_string()),
        ("CONTAINER_NAME".to_owned(), container.name()),
        ("IMAGE_NAME".to_owned(), container.config.image.clone()),
    ]);
    let tag = tag(container, asked).unwrap_or_else(|| container.id.short().to_owned());
    fields.insert("CONTAINER_TAG".to_owned(), tag.clone());
    fields.insert("SYSLOG_IDENTIFIER".to_owned(), tag);
    let extra = extra(container, asked).into_iter();
    fields.extend(extra.filter_map(|(name, value)| Some((field(&name)?, value))));
    fields.into_iter().collect()
}

/// The option `tag`, with what it stands for.
fn tag(container: &Container, asked: &LogConfig) -> Option<String> {
    let template = asked.config.as_ref()?.get("tag").filter(|template| !template.is_empty())?;
    let tag = template
        .replace("{{.ID}}", container.id.short())
        .replace("{{.FullID}}", container.id.as_str())
        .replace("{{.Name}}", &container.name())
        .replace("{{.ImageName}}", &container.config.image);
    Some(tag)
}

/// Labels and variables that the options `labels` and `env` name, where the container has them.
fn extra(container: &Container, asked: &LogConfig) -> BTreeMap<String, String> {
    let listed = |key: &str| {
        let list = asked.config.as_ref().and_then(|options| options.get(key)).cloned().unwrap_or_default();
        list.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
    };
    let labels = container.config.labels();
    let mut extra = BTreeMap::new();
    for label in listed("labels") {
        if let Some(value) = labels.get(&label) {
            extra.insert(label, value.clone());
        }
    }
    for wanted in listed("env") {
        let value = container
            .config
            .env
            .iter()
            .flatten()
            .find_map(|env| env.strip_prefix(wanted.as_str())?.strip_prefix('=').map(str::to_owned));
        if let Some(value) = value {
            extra.insert(wanted, value);
        }
    }
    extra
}

/// What `docker logs --details` puts before a line of the json-file driver: what the options name, escaped as in a query.
/// It is the same for every line, and so no part of the log.
pub fn details(container: &Container) -> String {
    let host_config = container.host_config();
    let mut extra = extra(container, &host_config.log_config);
    extra.extend(tag(container, &host_config.log_config).map(|tag| ("tag".to_owned(), tag)));
    let pairs = extra.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join(",") + " "
}

fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// A name as journald takes it (systemd.journal-fields(7)): upper case, digits and underscores, no underscore first.
fn field(name: &str) -> Option<String> {
    let upper: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let plain = upper.trim_start_matches('_');
    (plain.starts_with(|c: char| c.is_ascii_uppercase()) && plain.len() <= 64).then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(driver: &str, options: &[(&str, &str)]) -> Result<()> {
        let config = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        check(&LogConfig { driver: driver.to_owned(), config: Some(config) })
    }

    #[test]
    fn drivers_and_options_are_known_or_refused() {
        assert!(checked("json-file", &[("max-size", "10m"), ("max-file", "3")]).is_ok());
        assert!(checked("none", &[("anything", "1")]).is_ok());
        assert!(checked("journald", &[("tag", "{{.Name}}")]).is_ok());
        let failure = checked("syslog", &[]).expect_err("no driver");
        assert_eq!(failure.message, "logger: no log driver named 'syslog' is registered");
        let failure = checked("json-file", &[("x", "1")]).expect_err("no option");
        assert_eq!(failure.message, "unknown log opt 'x' for json-file log driver");
        for (name, value) in [("max-size", "0"), ("max-size", "ten"), ("max-file", "0"), ("max-file", "2")] {
            assert!(checked("json-file", &[(name, value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, bytes) in
            [("10", 10), ("10k", 10 << 10), ("1.5M", 3 << 19), ("1gb", 1 << 30), ("2GiB", 2 << 30)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1 2", "99999999999999999999", "9999999999p", "nan", "1e5"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
