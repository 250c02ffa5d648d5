//! Writes the profiles compiled in as tables of Rust, so that no start of a container parses them.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "runs at build time, on data of this repository"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde_json::Value;

/// The name of each table, of the profile, and its file.
const PROFILES: [(&str, &str, &str); 3] = [
    ("STRICT", "strict", "seccomp-strict.json"),
    ("HARDENED", "hardened", "seccomp-hardened.json"),
    ("DOCKER", "docker", "docker-default.json"),
];

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
    println!("cargo::rerun-if-changed=build.rs");
    let mut out = String::new();
    for (table, name, file) in PROFILES {
        let path = folder.join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).expect("a profile to read");
        let json: Value = serde_json::from_str(&text).expect("a profile in JSON");
        writeln!(out, "pub static {table}: Profile = {};", profile(name, &json)).expect("memory");
    }
    let target = Path::new(&env::var_os("OUT_DIR").expect("cargo says where")).join("seccomp.rs");
    fs::write(target, out).expect("the tables are written");
}

fn profile(name: &str, json: &Value) -> String {
    assert!(
        json["flags"].is_null() && json["architectures"].is_null(),
        "{name}: not in the form of those here"
    );
    let families = [("X86_64", "SCMP_ARCH_X86_64"), ("Aarch64", "SCMP_ARCH_AARCH64")];
    let families = families.map(|(variant, arch)| family(variant, arch, &json["archMap"])).join(", ");
    let rules: Vec<String> = list(&json["syscalls"]).iter().map(rule).collect();
    format!(
        "Profile {{ name: Borrowed({name:?}), default_action: Action::{}, default_errno: {:?}, \
         flags: Borrowed(&[]), families: Borrowed(&[{families}]), rules: Borrowed(&[\n{}]) }}",
        camel(&json["defaultAction"], ""),
        json["defaultErrnoRet"].as_u64(),
        rules.concat(),
    )
}

fn family(variant: &str, arch: &str, map: &Value) -> String {
    let entry = list(map).iter().find(|entry| entry["architecture"] == arch).expect("both architectures");
    let others =
        list(&entry["subArchitectures"]).iter().map(|other| format!("OciArch::{}", camel(other, "")));
    let others = others.collect::<Vec<_>>().join(", ");
    format!("Family {{ native: Arch::{variant}, others: Borrowed(&[{others}]) }}")
}

fn rule(json: &Value) -> String {
    let arguments: Vec<String> = list(&json["args"]).iter().map(argument).collect();
    format!(
        "Rule {{ names: Borrowed({:?}), action: Action::{}, errno: {:?}, arguments: Borrowed(&[{}]), \
         includes: {}, excludes: {} }},\n",
        words(&json["names"]),
        camel(&json["action"], ""),
        json["errnoRet"].as_u64(),
        arguments.concat(),
        when(&json["includes"]),
        when(&json["excludes"]),
    )
}

fn argument(json: &Value) -> String {
    format!(
        "Argument {{ index: {}, value: {}, value_two: {:?}, op: Operator::{} }}, ",
        json["index"],
        json["value"],
        json["valueTwo"].as_u64(),
        camel(&json["op"], ""),
    )
}

fn when(json: &Value) -> String {
    if json.is_null() {
        return "When::ALWAYS".to_owned();
    }
    let held = list(&json["caps"]).iter().map(|name| format!("Capability::{}, ", camel(name, "CAP_")));
    let kernel = json["minKernel"].as_str().map(|text| {
        let (major, minor) = text.split_once('.').expect("a kernel's release");
        format!("({major}, {minor})")
    });
    format!(
        "When {{ capabilities: Borrowed(&[{}]), arches: Borrowed({:?}), kernel: {} }}",
        held.collect::<String>(),
        words(&json["arches"]),
        kernel.map_or("None".to_owned(), |kernel| format!("Some({kernel})")),
    )
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn words(json: &Value) -> String {
    list(json).iter().map(|word| word.as_str().expect("a word")).collect::<Vec<_>>().join(" ")
}

/// The variant of a constant's name without `prefix`: `SCMP_ARCH_X86_64` is `ScmpArchX86_64`.
fn camel(name: &Value, prefix: &str) -> String {
    let name = name.as_str().and_then(|name| name.strip_prefix(prefix)).expect("a constant's name");
    let mut out = String::new();
    for word in name.split('_') {
        let digits = word.starts_with(|c: char| c.is_ascii_digit());
        let (first, rest) = word.split_at(1);
        let joint = if digits { "_" } else { "" };
        write!(out, "{joint}{first}{}", rest.to_ascii_lowercase()).expect("memory");
    }
    out
}
