//! `dist`: what a package holds: the programs, the systemd unit, and what is made from command lines: manual pages and
//! completions.

#[cfg(any(feature = "dist", test))]
use clap::{Arg, ValueHint};

use crate::command;
use crate::failure::Outcome;
use crate::workspace;

/// Our programs.
#[cfg(feature = "dist")]
const PROGRAMS: [&str; 8] = [
    "runtime",
    "casemate",
    "casemated",
    "casemate-broker",
    "casemate-shim",
    "casemate-layer",
    "casemate-net",
    "casemate-dns",
];

/// Builds the programs, then starts this program once more with the feature that links those whose command lines are asked
/// for.
#[cfg(not(feature = "dist"))]
pub fn run() -> Outcome {
    workspace::programs_under_test()?;
    let mut again = workspace::cargo();
    command::run(again.args([
        "run",
        "--quiet",
        "--package",
        "casemate-xtask",
        "--features",
        "dist",
        "--",
        "dist",
    ]))
}

/// Writes target/dist.
#[cfg(feature = "dist")]
pub fn run() -> Outcome {
    use crate::failure::Doing as _;

    let folder = workspace::scratch("dist")?;
    write_pages(&folder)?;
    for file in ["src/cli/systemd/casemate.service", "policies/cedar/roles.test.toml"] {
        let file = workspace::root().join(file);
        let name = file.file_name().unwrap_or_default();
        std::fs::copy(&file, folder.join(name)).doing(file.display())?;
    }
    let programs = std::env::var_os("CASEMATE_LIBEXEC").map_or_else(workspace::programs, Into::into);
    for name in PROGRAMS {
        let binary = programs.join(name);
        std::fs::copy(&binary, folder.join(name)).doing(binary.display())?;
    }
    command::run(std::process::Command::new("ls").arg("-l").arg(&folder))
}

/// Manual pages, one for each verb, and completions for the shells that people have.
#[cfg(feature = "dist")]
fn write_pages(folder: &std::path::Path) -> Outcome {
    use clap_complete::Shell;

    use crate::failure::Doing as _;

    for mut definition in [casemate_runtime::cli::command(), casemate_cli::command(), casemated()] {
        let name = definition.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut definition, &name, folder).doing(shell)?;
        }
        if name == "casemated" {
            let page = folder.join("casemated.8");
            let mut file = std::fs::File::create(&page).doing(page.display())?;
            clap_mangen::Man::new(definition).section("8").render(&mut file).doing(page.display())?;
        } else {
            clap_mangen::generate_to(definition, folder).doing("man pages")?;
        }
    }
    Ok(())
}

/// The daemon's command line. It reads its few words without clap, which would be half a megabyte of it; a test compares
/// the two.
#[cfg(any(feature = "dist", test))]
fn casemated() -> clap::Command {
    let path = |name: &'static str, value: &'static str, help: &'static str, hint: ValueHint| {
        Arg::new(name).long(name).value_name(value).help(help).value_hint(hint)
    };
    let dir = ValueHint::DirPath;
    clap::Command::new("casemated")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The Docker Engine API behind mutual TLS")
        .long_about(
            "The daemon. casemate-broker starts it, in a container of its own, and gives it a channel and its listeners; \
             nobody else does. People start it to have a configuration or policies checked, which takes no privilege.",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(path("check-config", "FILE", "Read a casemate.toml, and say what is wrong with it", ValueHint::FilePath))
        .arg(path(
            "test-policies",
            "FILE",
            "Hold a file of expectations against the authorization policies of --etc; exit status 0 when all hold, 1 when \
             some do not, 2 when a file is wrong",
            ValueHint::FilePath,
        ))
        .arg(path("etc", "DIR", "The configuration: casemate.toml, tls, policies [/etc/casemate]", dir))
        .arg(path("home", "DIR", "Its own: metadata, blobs [/var/lib/casemate]", dir))
        .arg(path("logs", "DIR", "Containers' logs [/var/log/casemate]", dir))
        .arg(Arg::new("version").long("version").help("Print the version").num_args(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_daemons_page_has_the_options_that_it_reads() {
        let source = include_str!("../../daemon/src/arguments.rs");
        let program = source.split("#[cfg(test)]").next().unwrap_or_default();
        let read: BTreeSet<&str> = program
            .split('"')
            .filter_map(|text| text.strip_prefix("--"))
            .filter(|name| !name.is_empty())
            .collect();
        let definition = casemated();
        let told: BTreeSet<&str> = definition.get_arguments().filter_map(Arg::get_long).collect();
        assert_eq!(read, told);
        assert!(read.contains("test-policies"));
    }

    #[cfg(feature = "dist")]
    #[test]
    fn every_verb_has_a_page_and_every_shell_completions() {
        let folder = std::env::temp_dir().join(format!("casemate-pages-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("make a directory");
        write_pages(&folder).unwrap_or_else(|failure| panic!("{failure}"));
        let read = |name: &str| {
            std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        for (page, words) in [
            ("runtime.1", "OCI"),
            ("casemate.1", "certificates"),
            ("casemate-run.1", "Run a container"),
            ("casemate-policy-explain.1", "protections"),
            ("casemate-policy-test.1", "expectations"),
            ("casemate-pki-issue.1", "certificate"),
            ("casemated.8", "\\-\\-test\\-policies"),
        ] {
            let text = read(page);
            assert!(text.starts_with(".ie \\n(.g") && text.contains(words), "{page}: {text}");
        }
        for name in ["runtime", "casemate", "casemated"] {
            for file in [format!("{name}.bash"), format!("_{name}"), format!("{name}.fish")] {
                assert!(read(&file).contains(name), "{file}");
            }
        }
        // What `up` starts for itself is nobody's to type.
        assert!(!folder.join("casemate-supervise.1").exists());
        std::fs::remove_dir_all(&folder).expect("remove the directory");
    }
}
