//! What policies are asked: names, labels and paths of anybody's, which must be judged and never break a judgement. The
//! built-in policies must never let a stranger do more than greet, nor anybody but an administrator have of the host.
#![no_main]

use std::sync::OnceLock;

use casemate_daemon::authority::{Authority, Object, Sources};
use casemate_engine::Caller;
use libfuzzer_sys::fuzz_target;

fn authority() -> &'static Authority {
    static BUILT_IN: OnceLock<Authority> = OnceLock::new();
    BUILT_IN.get_or_init(|| Authority::new(&Sources::default()).expect("the policies that are built in"))
}

fuzz_target!(|input: (Vec<String>, String, Vec<String>, Vec<(String, String)>, bool)| {
    let (groups, name, texts, labels, bind) = input;
    let tenant = "acme".parse().expect("a tenant");
    let caller = Caller { identity: "casemate://acme/anna".to_owned(), tenant, groups: groups.clone() };
    let text = |index: usize| texts.get(index).cloned().unwrap_or_default();
    let own = ["acme", "other"].map(|tenant| {
        let tenant = tenant.parse().expect("a tenant");
        let object = Object::of("Container", &name, &tenant).text("name", name.clone());
        let fields = ["image", "imageId", "policy", "network"];
        let object = fields.iter().enumerate().fold(object, |all, (index, name)| all.text(name, text(index)));
        let sets = ["origins", "registries", "volumes", "capabilities"];
        let object = sets.iter().fold(object, |all, name| all.texts(name, texts.clone()));
        let binds = bind.then(|| text(4));
        let object = object.texts("binds", binds).texts("hostNamespaces", []).texts("devices", []);
        let object = object.numbers("ports", []).truth("privileged", false).truth("unconfined", false);
        object.labels(labels.clone())
    });
    let [own, others] = own;
    let verdict = authority().judge(&caller, "container.create", own);
    assert!(!verdict.reason.starts_with("it cannot be judged"), "{}", verdict.reason);
    let has = |wanted: &[&str]| groups.iter().any(|group| wanted.contains(&group.as_str()));
    let admin = has(&["admin"]);
    assert_eq!(verdict.allowed, admin || (!bind && has(&["developer", "operator"])), "{verdict:?}");
    assert_eq!(authority().judge(&caller, "container.create", others).allowed, admin);
});
