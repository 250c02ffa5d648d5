//! Images: list, pull, push, remove.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use casemate_spec::{Error, Result};
use clap::Subcommand;
use hyper::Method;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::escaped;
use super::table::{self, ago};
use crate::client::{Client, Upload, lines};

/// What may be done with images.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// List images
    Images,
    /// Fetch an image from its registry
    Pull {
        /// REPOSITORY[:TAG] or REPOSITORY@DIGEST
        image: String,
    },
    /// Make images of an archive that `docker save` or another tool has written
    Load {
        /// The archive
        file: PathBuf,
    },
    /// Make an image of a root filesystem's archive
    Import {
        /// The archive
        file: PathBuf,
        /// What to call it
        image: String,
    },
    /// Remove images
    Rmi {
        /// Even where a stopped container has it
        #[arg(short, long)]
        force: bool,
        /// Which
        #[arg(required = true)]
        images: Vec<String>,
    },
}

/// Runs one of them.
///
/// # Errors
/// The daemon says no.
pub async fn images(client: &Client, verb: &ImageVerb) -> Result<ExitCode> {
    match verb {
        ImageVerb::Images => list(client).await?,
        ImageVerb::Pull { image } => pull(client, image).await?,
        ImageVerb::Load { file } => send(client, file, "/images/load").await?,
        ImageVerb::Import { file, image } => {
            let (name, tag) = reference(image);
            let path = format!("/images/create?fromSrc=-&repo={}&tag={}", escaped(name), escaped(tag));
            send(client, file, &path).await?;
        }
        ImageVerb::Rmi { force, images } => {
            for image in images {
                let path = format!("/images/{}?force={force}", escaped(image));
                let removed = client.call(Method::DELETE, &path, None).await?;
                for entry in removed.as_array().into_iter().flatten() {
                    for word in ["Untagged", "Deleted"] {
                        if let Some(what) = entry[word].as_str() {
                            println!("{word}: {what}");
                        }
                    }
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn send(client: &Client, file: &Path, path: &str) -> Result<()> {
    let archive = std::fs::read(file).map_err(|e| Error::io(file.display().to_string(), &e))?;
    let response = client.upload(Method::POST, path, Upload::tar(archive)).await?;
    lines(response.into_body(), |line| {
        if let Some(error) = line["error"].as_str() {
            return Err(Error::new("", error));
        }
        let said = [&line["stream"], &line["status"]].into_iter().find_map(|text| text.as_str());
        println!("{}", said.unwrap_or_default().trim_end());
        Ok(true)
    })
    .await
}

async fn list(client: &Client) -> Result<()> {
    let images = client.call(Method::GET, "/images/json", None).await?;
    let mut rows = Vec::new();
    for image in images.as_array().into_iter().flatten() {
        let id = image["Id"].as_str().unwrap_or_default();
        let id = id.strip_prefix("sha256:").unwrap_or(id).get(..12).unwrap_or(id);
        let created = ago(image["Created"].as_i64().unwrap_or_default());
        let size = table::size(image["Size"].as_f64().unwrap_or_default());
        let tags: Vec<&str> =
            image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for tag in if tags.is_empty() { vec!["<none>:<none>"] } else { tags } {
            let (name, tag) = tag.rsplit_once(':').unwrap_or((tag, ""));
            rows.push([name.to_owned(), tag.to_owned(), id.to_owned(), created.clone(), size.clone()]);
        }
    }
    table::print(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows)
}

/// Fetches an image, with a bar for each layer where a terminal shows it.
///
/// # Errors
/// The daemon or the registry says no.
pub async fn pull(client: &Client, image: &str) -> Result<()> {
    let (name, tag) = reference(image);
    let path = format!("/images/create?fromImage={}&tag={}", escaped(name), escaped(tag));
    let response = client.stream(Method::POST, &path, None).await?;
    let bars = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:12} {msg:20} {wide_bar} {bytes}/{total_bytes}")
        .map_err(|error| Error::new("progress", error.to_string()))?;
    let mut layers: HashMap<String, ProgressBar> = HashMap::new();
    lines(response.into_body(), |line| {
        if let Some(error) = line["error"].as_str() {
            return Err(Error::new("", error));
        }
        let status = line["status"].as_str().unwrap_or_default().to_owned();
        match (line["id"].as_str(), &line["progressDetail"]) {
            (Some(id), detail) if detail.is_object() => {
                let bar = layers.entry(id.to_owned()).or_insert_with(|| {
                    bars.add(ProgressBar::new(0).with_style(style.clone()).with_prefix(id.to_owned()))
                });
                bar.set_message(status);
                if let Some(total) = detail["total"].as_u64() {
                    bar.set_length(total);
                }
                bar.set_position(detail["current"].as_u64().unwrap_or_else(|| bar.position()));
            }
            _ => bars.println(status).map_err(|error| Error::io("standard error", &error))?,
        }
        Ok(true)
    })
    .await
}

/// A reference as its repository and its tag or digest.
fn reference(image: &str) -> (&str, &str) {
    if let Some(parts) = image.split_once('@') {
        return parts;
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::reference;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(reference("localhost:5000/a"), ("localhost:5000/a", "latest"));
        assert_eq!(reference("localhost:5000/a:b"), ("localhost:5000/a", "b"));
        assert_eq!(reference("a@sha256:1"), ("a", "sha256:1"));
        assert_eq!(reference("a"), ("a", "latest"));
    }
}
