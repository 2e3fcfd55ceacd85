//! The same cfg as in the programs: whether bugs can be sown in this process.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(seeded_bugs)");
    println!("cargo::rerun-if-env-changed=SPOOL_SEEDED_BUGS");
    if std::env::var_os("SPOOL_SEEDED_BUGS").is_some_and(|value| value == "1") {
        println!("cargo::rustc-cfg=seeded_bugs");
    }
}
