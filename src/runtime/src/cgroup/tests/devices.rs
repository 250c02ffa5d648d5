//! Device rules: the kernel's answer to real opens, and the v2 program against the rules it was made of.

use proptest::prelude::*;

use super::super::devices::{Access, Devices, Kind, Rule, Rules};
use super::super::devices_v2::compile;
use super::{Place, root};

/// Docker's rules, and a device of our own.
const RULES: &str = r#"{"devices": [
    {"allow": false, "access": "rwm"},
    {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
    {"allow": true, "type": "b", "major": 7, "access": "rw"}
]}"#;

const PROBE: &str = "
try() { if (eval \"exec 9$1 $2\") 2>/dev/null; then echo \"$1 $2\"; fi; }
for d in null zero random urandom kmsg; do try '<' /dev/$d; try '>' /dev/$d; done
mknod $T/n c 10 200 && echo mknod; (exec 9<$T/n) 2>/dev/null || echo closed
";

#[test]
fn only_what_is_allowed_opens_on_either_side() {
    root!();
    for mut place in Place::on_each_side() {
        let cgroup = place.create(RULES);
        let dir = std::env::temp_dir().join(format!("casemate-unit-dev-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let script = format!("T={}\n{PROBE}", dir.display());
        let opened = place.output(&cgroup, &script);
        std::fs::remove_dir_all(&dir).unwrap();
        let want = "< /dev/null\n> /dev/null\n< /dev/zero\n> /dev/zero\n< /dev/random\n> /dev/random\n\
                    < /dev/urandom\n> /dev/urandom\n< /dev/kmsg\nmknod\nclosed\n";
        assert_eq!(opened, want);
    }
}

#[test]
fn all_is_open_to_those_who_asked_for_all() {
    root!();
    for mut place in Place::on_each_side() {
        let cgroup = place.create(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#);
        assert_eq!(place.output(&cgroup, "(exec 9>/dev/kmsg) && echo open"), "open\n");
    }
}

#[test]
fn without_rules_only_the_default_devices_open() {
    root!();
    for mut place in Place::on_each_side() {
        let cgroup = place.create("{}");
        let script = "(exec 9</dev/kmsg) 2>/dev/null || echo closed; (exec 9</dev/zero) && echo open";
        assert_eq!(place.output(&cgroup, script), "closed\nopen\n");
    }
}

#[test]
fn nonsense_is_refused() {
    root!();
    let place = Place::new();
    for rule in [
        r#"{"allow": true, "type": "c", "major": -2, "access": "r"}"#,
        r#"{"allow": true, "type": "c", "major": 4294967296, "access": "r"}"#,
        r#"{"allow": true, "type": "c", "major": 1, "access": "rx"}"#,
        r#"{"allow": true, "type": "p", "access": "r"}"#,
    ] {
        let error = place.try_create(&format!(r#"{{"devices": [{rule}]}}"#)).unwrap_err();
        assert!(error.to_string().contains("linux.resources.devices[0]"), "{error}");
        assert!(place.is_gone());
    }
}

/// Runs a device program as the kernel would: the few operations that ours consist of.
fn run(
    program: &[casemate_core::sys::bpf::Instruction],
    kind: u32,
    access: u8,
    major: u32,
    minor: u32,
) -> bool {
    let context = [(u32::from(access) << 16) | kind, major, minor];
    let mut registers = [0_u32; 11];
    let mut at = 0;
    loop {
        let one = program[at];
        let (to, from) = (usize::from(one.registers & 15), usize::from(one.registers >> 4));
        let value = one.value.cast_unsigned();
        at += 1;
        let jump = match one.code {
            0x61 => {
                registers[to] = context[usize::try_from(one.offset).unwrap() / 4];
                false
            }
            0xbc => {
                registers[to] = registers[from];
                false
            }
            0xb7 => {
                registers[to] = value;
                false
            }
            0x54 => {
                registers[to] &= value;
                false
            }
            0x74 => {
                registers[to] >>= value;
                false
            }
            0x56 => registers[to] != value,
            0x16 => registers[to] == value,
            0x95 => return registers[0] == 1,
            other => panic!("operation {other:#x}"),
        };
        if jump {
            at += usize::try_from(one.offset).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn the_program_decides_as_the_rules_do(
        default: bool,
        rules in proptest::collection::vec(
            (any::<bool>(), any::<bool>(), proptest::option::of(0_u32..3), proptest::option::of(0_u32..3), 1_u8..8),
            0..8,
        ),
    ) {
        let access = |bits: u8| [Access::MKNOD, Access::READ, Access::WRITE].into_iter()
            .filter(|one| one.bits() & bits != 0).fold(Access::NONE, Access::with);
        let rules = rules.into_iter().map(|(allow, block, major, minor, bits)| {
            let kind = if block { Kind::Block } else { Kind::Char };
            Rule { allow, devices: Devices { kind, major, minor }, access: access(bits) }
        });
        let rules = Rules { allow_by_default: default, rules: rules.collect() };
        let program = compile(&rules).unwrap();
        for (kind, number) in [(Kind::Block, 1), (Kind::Char, 2)] {
            for (major, minor) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
                for bits in 1..8 {
                    let want = rules.verdict(kind, major, minor, access(bits));
                    prop_assert_eq!(run(&program, number, bits, major, minor), want, "{:?} {}:{} {}", kind, major, minor, bits);
                }
            }
        }
    }
}
