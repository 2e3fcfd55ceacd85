//! `docs/failures.md` names tests; this one looks that they are there.

use std::fs;
use std::path::Path;

/// The words between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn all_code_below(dir: &Path) -> String {
    let mut code = String::new();
    let mut below: Vec<_> = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).collect();
    while let Some(path) = below.pop() {
        if path.is_dir() {
            below.extend(fs::read_dir(path).unwrap().map(|item| item.unwrap().path()));
        } else {
            code += &fs::read_to_string(path).unwrap();
        }
    }
    code
}

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/failures.md")).unwrap();
    let mut failures = 0;
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        failures += 1;
        assert!(!quoted(tests).is_empty(), "no test: {row}");
        for item in tests.split(" · ") {
            named += 1;
            match (item.strip_prefix("layer "), quoted(item).as_slice()) {
                (Some(layer), [case]) => {
                    let layer = layer.split(' ').next().unwrap();
                    let code = all_code_below(&root.join("crates/torture/src/layers").join(layer));
                    assert!(code.contains(&format!("\"{case}\"")), "the layer {layer} has no case {case}");
                }
                (None, [file, test]) => {
                    let code = fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
                    assert!(code.contains(&format!("fn {test}(")), "{file} has no {test}");
                }
                _ => panic!("neither a file and a test nor a layer and a case: {item}"),
            }
        }
    }
    assert!(failures == 56 && named > failures, "{failures} failures, {named} tests");
}
