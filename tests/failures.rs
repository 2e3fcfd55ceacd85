//! `docs/failures.md` and `docs/reliability.md` name tests; these look that they are there.

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

/// Looks up everything in the last column of each row of a page's tables after a heading; how many rows and things.
fn look_up(page: &str, after: &str) -> (usize, usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join(page)).unwrap();
    let (_, tables) = page.split_once(after).unwrap();
    let (mut rows, mut named) = (0, 0);
    // The first is the head of the table; the line below it does not begin like a row.
    for row in tables.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        rows += 1;
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
    (rows, named)
}

#[test]
fn every_failure_of_others_has_tests_that_are_there() {
    let (rows, named) = look_up("docs/failures.md", "# What others lost");
    assert!(rows == 56 && named > rows, "{rows} failures, {named} tests");
}

#[test]
fn every_defect_of_our_own_has_tests_that_are_there() {
    let (rows, named) = look_up("docs/reliability.md", "## What this found");
    assert!(rows >= 40 && named >= rows, "{rows} defects, {named} tests");
}
