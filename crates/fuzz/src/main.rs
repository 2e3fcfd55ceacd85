//! One target a process, named by the variable `SPOOL_FUZZ_TARGET`.
//!
//! In an ordinary build it feeds the files that are named on its command line: what a run of the torture found, once
//! more. `cargo xtask torture fuzz` builds it for libFuzzer, once plain and once with the address sanitizer: such a build
//! counts edges and traces comparisons, which is how libFuzzer learns which inputs lead to new places.

#![cfg_attr(fuzzing, no_main)]
#![cfg_attr(fuzzing, allow(unsafe_code, reason = "libFuzzer looks for two functions by their C names"))]

use std::sync::OnceLock;

use spool_fuzz::Target;

static TARGET: OnceLock<&Target> = OnceLock::new();

fn target() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = std::env::var("SPOOL_FUZZ_TARGET").unwrap_or_default();
        let names = || spool_fuzz::TARGETS.iter().map(|t| t.name).collect::<Vec<_>>().join(", ");
        Target::named(&name).unwrap_or_else(|| panic!("SPOOL_FUZZ_TARGET must be one of {}", names()))
    })
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(init: { target(); }, |data| (target().run)(data));

#[cfg(not(fuzzing))]
fn main() {
    for file in std::env::args_os().skip(1) {
        match std::fs::read(&file) {
            Ok(data) => (target().run)(&data),
            Err(error) => panic!("cannot read {}: {error}", file.display()),
        }
    }
}
