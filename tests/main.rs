//! The end-to-end tests: one binary, so that the real programs are built once and linked once.
//!
//! Each file beside this one is a module of it; the test below fails when one is forgotten.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap of a test's helper is the failure that should be seen"
)]

mod adapt;
mod cli;
mod config;
mod docs;
mod doctor;
mod drain;
mod failures;
mod format;
mod from;
mod golden;
mod jobs;
mod log;
mod lost;
mod manual;
mod operator;
mod policy;
mod put;
mod run;
mod run_streams;
mod service;
mod session;
mod status;
mod support;
mod systemd;
mod torture;
mod verbs;
mod wait;
mod watch;

#[test]
fn no_file_of_tests_is_forgotten() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let main = std::fs::read_to_string(here.join("main.rs")).unwrap();
    for item in std::fs::read_dir(&here).unwrap() {
        let path = item.unwrap().path();
        let is_module = path.extension().is_some_and(|e| e == "rs") || path.join("mod.rs").exists();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if is_module && name != "main" {
            assert!(
                main.contains(&format!("\nmod {name};\n")),
                "tests/main.rs does not name {}",
                path.display()
            );
        }
    }
}
