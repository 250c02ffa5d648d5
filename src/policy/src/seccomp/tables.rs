//! The profiles compiled in, as the build script (`build.rs`) writes them: at a container's start nothing is parsed.

use std::borrow::Cow::Borrowed;

use oci_spec::runtime::{
    Arch as OciArch, Capability, LinuxSeccompAction as Action, LinuxSeccompOperator as Operator,
};

use super::{Arch, Argument, Family, Profile, Rule, When};

include!(concat!(env!("OUT_DIR"), "/seccomp.rs"));
