//! Resource limits of getrlimit(2).

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use super::Case;

const RULE: &str = "rlimits";

fn of(typ: PosixRlimitType, hard: u64, soft: u64) -> PosixRlimit {
    // Every field has a value, which is all that building asks for.
    PosixRlimitBuilder::default().typ(typ).hard(hard).soft(soft).build().unwrap_or_default()
}

pub(super) fn apply(case: &mut Case<'_>) {
    let wanted = &case.rules.rlimits;
    let Some(process) = case.config.spec.process_mut() else { return };
    let mut limits = process.rlimits().clone().unwrap_or_default();
    let mut changes = Vec::new();
    for (name, most) in wanted {
        let typ = name.oci();
        match limits.iter_mut().find(|limit| limit.typ() == typ) {
            Some(limit) if limit.hard() <= *most && limit.soft() <= *most => {}
            Some(limit) => {
                changes.push((*name, limit.hard().to_string(), *most));
                *limit = of(typ, limit.hard().min(*most), limit.soft().min(*most));
            }
            // What is not asked is inherited, and may be less than this: only nothing is less than everything.
            None if *most == 0 => {
                limits.push(of(typ, 0, 0));
                changes.push((*name, "inherited".to_owned(), 0));
            }
            None => {}
        }
    }
    if changes.is_empty() {
        return;
    }
    process.set_rlimits(Some(limits));
    for (name, asked, most) in changes {
        case.change(RULE, format!("process.rlimits[{}]", name.oci()), asked, most.to_string());
    }
}
