//! Characters pushed into a terminal are read by the next program on it, as if its user had typed them
//! (CVE-2016-9603's kin; CVE-2023-28100 elsewhere).

use casemate_tests::Terminal;

use crate::attack::{FROM_HARDENED, POLICIES, operations, permissive};
use crate::survey::install_survey;

#[test]
fn pushed_into_a_terminal_of_its_own() {
    operations(FROM_HARDENED, &["terminal:TIOCSTI"]);
    operations(FROM_HARDENED, &["terminal:TIOCLINUX"]);
}

/// `runtime run` in the foreground of the operator's shell hands the operator's terminal in.
#[test]
fn pushed_into_the_operators_terminal() {
    for policy in POLICIES {
        let mut bundle = permissive("/survey 'aimed:push to the terminal'");
        install_survey(&bundle);
        let (mut terminal, files) = Terminal::open();
        let reader = files[0].try_clone().expect("the operator's side");
        bundle.policy(policy);
        let running = bundle.command(["run", bundle.id()]).stdio(files).spawn();
        let output = running.wait();
        let said = terminal.expect("aimed:push to the terminal");
        assert!(output.success() || policy != "oci", "{policy}: {output} {said}");
        let waiting = rustix::io::ioctl_fionread(&reader).expect("ask what there is to read");
        assert_eq!(waiting > 0, policy == "oci", "{policy}: {waiting} bytes for the operator's shell");
    }
}
