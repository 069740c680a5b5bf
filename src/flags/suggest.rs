//! "Did you mean": the nearest of the names that there are.

/// The name nearest to the text, if it is near enough to have been meant: at most one slip in three letters, and three in all.
pub(super) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.trim_start_matches('-').replace('-', "_").to_lowercase();
    let most = (text.chars().count() / 3).clamp(1, 3);
    names.map(|name| (distance(&text, name), name)).filter(|(slips, _)| *slips <= most).min().map(|(_, name)| name)
}

/// How many letters must be put in, left out, exchanged or swapped with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let exchanged = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = exchanged.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
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
    fn slips_are_understood_and_strangers_are_not() {
        let names = ["work_dir", "runtime_dir", "port", "vm_image", "vm_image_dir"];
        let nearest = |text| nearest(text, names.into_iter());
        assert_eq!(nearest("work-dir"), Some("work_dir"));
        assert_eq!(nearest("wrok_dir"), Some("work_dir"));
        assert_eq!(nearest("prot"), Some("port"));
        assert_eq!(nearest("VM_IMAGE"), Some("vm_image"));
        assert_eq!(nearest("zookeeper"), None);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
