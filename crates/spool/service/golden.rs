//! Services for the tests, and the files that show what is made of them.

use std::path::Path;

use super::settings::Settings;

/// What an ordinary user has.
pub fn plain() -> Settings {
    Settings {
        program: "/usr/bin/spool".into(),
        words: ["drain", "--spool", "/home/me/.local/state/spool"].map(Into::into).into(),
        environment: Vec::new(),
        writable: ["/home/me/.local/state/spool", "/home/me/.config/spool"].map(Into::into).into(),
        is_confined: true,
    }
}

/// All of it, with names that ask for trouble.
pub fn full() -> Settings {
    Settings {
        program: "/opt/my tools/100%/$spool".into(),
        words: [
            "drain",
            "--spool",
            "/tmp/a b/$HOME",
            "--config",
            "/home/me/con fig/spool.toml",
            "--gateway",
            "wss://gw.example:18789/?a=1&b=<2>",
            "--token-file",
            "/home/me/t k",
            "--metrics",
            "127.0.0.1:9469",
            "--log",
            "journald",
            "--admin",
        ]
        .map(Into::into)
        .into(),
        environment: [("SPOOL_LOG", "debug"), ("XDG_CONFIG_HOME", "/home/me/con fig/$x%n")]
            .map(|(n, v)| (n.into(), v.into()))
            .into(),
        writable: ["/tmp/a b/$HOME", "/home/me/con fig/$x%n/spool"].map(Into::into).into(),
        is_confined: true,
    }
}

/// Compares with the file of this name in tests/golden/service; `BLESS=1` writes it.
#[track_caller]
pub fn same(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/service").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(was == text, "{} is not what is made now; BLESS=1 writes it:\n{text}", path.display());
}
