//! create, start, state, kill, delete, run: the words and codes engines rely on.

use casemate_tests::{Bundle, each};

#[test]
fn run_gives_the_exit_code_and_the_output() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "echo out; echo err >&2; exit 7");
        let output = bundle.run().fails_with(7);
        assert_eq!((output.stdout().as_str(), output.stderr().as_str()), ("out\n", "err\n"));
        bundle.assert_clean();
    });
}
