//! What a person may have meant by a word that is none: the nearest of the words there are.

/// `; is it WORD?` for the nearest word, if one is near enough to be a slip of the fingers, else nothing.
pub fn closest<'a>(said: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let most = match said.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    let near = words.into_iter().map(|word| (distance(said, word), word)).min_by_key(|(d, _)| *d);
    match near {
        Some((d, word)) if d <= most && d < word.chars().count() => format!("; is it {word}?"),
        _ => String::new(),
    }
}

/// How many characters must be added, dropped, replaced or swapped with their neighbour to make one of the other
/// (Damerau's optimal string alignment). Of a word longer than any of ours the rest does not count.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let is_other = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + is_other);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let words = ["status", "show", "list", "retry"];
        for (said, says) in [
            ("statsu", "; is it status?"),
            ("Status", "; is it status?"),
            ("lst", "; is it list?"),
            ("rtery", "; is it retry?"),
            ("frobnicate", ""),
            ("", ""),
        ] {
            assert_eq!(closest(said, words), says, "{said}");
        }
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
