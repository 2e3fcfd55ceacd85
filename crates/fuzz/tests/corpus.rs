//! The corpus, fed once: what was found before stays found, in every ordinary test run.

use spool_fuzz::{TARGETS, set_room};

/// A corpus is for people to read, too.
const MOST_FILES: usize = 50;
const MOST_BYTES: usize = 32 * 1024;

#[test]
fn every_input_of_every_corpus_breaks_nothing() {
    let room = std::env::temp_dir().join(format!("spool-corpus-{}", std::process::id()));
    set_room(&room);
    for target in TARGETS {
        let mut bytes = 0;
        let files: Vec<_> =
            std::fs::read_dir(target.corpus()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!((1..=MOST_FILES).contains(&files.len()), "{} inputs for {}", files.len(), target.name);
        for file in files {
            let input = std::fs::read(&file).unwrap();
            bytes += input.len();
            // A panic names the place; this names the input.
            println!("{}", file.display());
            (target.run)(&input);
        }
        assert!(bytes <= MOST_BYTES, "{bytes} bytes for {}", target.name);
    }
    std::fs::remove_dir_all(&room).ok();
}
