//! The start, and the end.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arc_swap::ArcSwap;
use casemate_engine::broker::Broker;
use casemate_engine::{Engine, Quota, Settings, supervision};
use casemate_spec::wire::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Places;
use crate::authority::{self, Authority, Sources};
use crate::config::{Config, TenantConfig, Tls};
use crate::metrics::Metrics;
use crate::router::Router;
use crate::routes;
use crate::server::{Gate, accept, watch};
use crate::service::Daemon;
use crate::tls::{Choice, Material, Trust};

/// Reads a configuration, and says what is wrong with it.
///
/// # Errors
/// `FILE:LINE:COLUMN: what`
pub fn check_config(file: &Path) -> Result<(), String> {
    if !file.exists() {
        return Err(format!("{}: no such file", file.display()));
    }
    Config::read(file)?;
    println!("{}: ok", file.display());
    Ok(())
}

/// Holds a file of expectations against the authorization policies of a configuration; exit status 0 when all hold, 1
/// when some do not, 2 when the file or the policies cannot be used.
pub fn test_policies(places: &Places, file: &Path) -> ExitCode {
    let attempt = || {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let authority = Authority::new(&Sources::read(&places.etc.join("policies"))?)?;
        authority::hold(&authority, &text, &file.display().to_string())
    };
    let outcome = match attempt() {
        Ok(outcome) => outcome,
        Err(message) => {
            eprintln!("casemated: {message}");
            return ExitCode::from(2);
        }
    };
    for failure in &outcome.failures {
        println!("{failure}");
    }
    let (judged, failed) = (outcome.judged, outcome.failures.len());
    println!("{}: {judged} judgements, {failed} not as expected", file.display());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Serves the API until the broker ends or a signal asks for the end.
///
/// # Errors
/// It cannot begin, or the broker is gone.
pub fn serve(places: &Places) -> Result<(), String> {
    raise_descriptors();
    let config = Config::read(&places.etc.join("casemate.toml"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("start: {error}"))?.block_on(run(places.clone(), config))
}

async fn run(places: Places, config: Config) -> Result<(), String> {
    let tls = choice(&config.tls);
    let trust = Trust::new(Material::read(&places.etc.join("tls"))?, tls)?;
    let authority = Authority::new(&Sources::read(&places.etc.join("policies"))?)?;
    let settings = settings(&places, &config)?;
    let channel = rustix::stdio::stdin().as_fd().try_clone_to_owned();
    let channel = channel.map_err(|error| format!("descriptor 0: {error}"))?;
    let (broker, mut hello, gone) = Broker::connect(channel).await.map_err(|error| error.to_string())?;
    let listeners = std::mem::take(&mut hello.listeners);
    let engine = Engine::start(settings, broker, hello).await.map_err(|error| error.to_string())?;
    let limits = config.limits.clone();
    let daemon = Arc::new(Daemon {
        engine,
        router: Router::new(routes::table()),
        gate: Arc::new(Gate::new(limits.clone())),
        limits,
        config,
        trust: ArcSwap::from_pointee(trust),
        authority: ArcSwap::from_pointee(authority),
        tls,
        places,
        metrics: Metrics::default(),
    });
    for listener in listeners {
        let listener = std::net::TcpListener::from(listener);
        let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        tokio::spawn(accept(Arc::clone(&daemon), listener.map_err(|error| format!("listener: {error}"))?));
    }
    tokio::spawn(watch(Arc::clone(&daemon)));
    let (Ok(mut stop), Ok(mut keep)) = (signal(SignalKind::terminate()), signal(SignalKind::user_defined2()))
    else {
        return Err("signals cannot be waited for".to_owned());
    };
    tokio::select! {
        _ = gone => Err("the broker is gone".to_owned()),
        _ = stop.recv() => end(&daemon, daemon.config.live_restore).await,
        _ = keep.recv() => end(&daemon, true).await,
    }
}

fn choice(config: &Tls) -> Choice {
    let says = |value: &Option<toml::Spanned<String>>, word: &str| {
        value.as_ref().is_some_and(|value| value.get_ref() == word)
    };
    Choice {
        tls12: says(&config.minimum_version, "1.2"),
        overdue_lists: says(&config.overdue_revocation_list, "warn"),
    }
}

/// The end in good order.
async fn end(daemon: &Daemon, keep: bool) -> Result<(), String> {
    supervision::shutdown(&daemon.engine, keep).await.map_err(|error| error.to_string())
}

fn settings(places: &Places, config: &Config) -> Result<Settings, String> {
    let texts = |list: &[toml::Spanned<String>]| list.iter().map(|text| text.get_ref().clone()).collect();
    let mut signed = Vec::new();
    for signature in &config.signatures {
        let mut keys = Vec::new();
        for key in &signature.keys {
            let file = places.etc.join(key.get_ref());
            let text = std::fs::read_to_string(&file);
            keys.push(text.map_err(|error| format!("{}: {error}", file.display()))?);
        }
        signed.push((signature.images.clone(), keys));
    }
    Ok(Settings {
        home: places.home.clone(),
        logs: places.logs.clone(),
        insecure_registries: texts(&config.insecure_registries),
        registry_mirrors: texts(&config.registry_mirrors),
        dns: texts(&config.dns),
        pools: config.pools(),
        ip: config.ip.as_ref().and_then(|ip| ip.get_ref().parse().ok()),
        log_driver: config.log_driver.as_ref().map_or("json-file", |driver| driver.get_ref()).to_owned(),
        log_opts: config.log_opts.clone(),
        live_restore: config.live_restore,
        signed,
        policy: config.policy.clone(),
        quotas: config.tenants.iter().map(|(tenant, own)| (tenant.clone(), quota(own))).collect(),
    })
}

fn quota(own: &TenantConfig) -> Quota {
    // A thousandth of a processor is as fine as control groups are.
    let cpu = own.cpus.map(|cpus| (cpus * 1000.0) as u64);
    let limits = Limits { memory: own.memory.map(|size| size.0), cpu, pids: own.pids };
    Quota {
        policy: own.policy.clone(),
        containers: own.containers,
        disk: own.disk.map(|size| size.0),
        limits,
        networks: own.networks,
        // It was checked when it was read.
        egress: own.egress.as_ref().and_then(|egress| egress.rules().ok()),
    }
}

/// As many descriptors as we may have: each connection is one, and each stream of a container another.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // Not being allowed to leaves the limit as it is, which only bounds how many can be served.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
}
