//! Numbers, digests and tables as people read them.

/// A length in bytes.
pub fn bytes(length: u64) -> String {
    indicatif::BinaryBytes(length).to_string()
}

/// A number of things: "1 part", "2 parts".
pub fn count(number: impl TryInto<u64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The beginning of a digest or key id: enough to tell a few apart.
pub fn short(digest: &str) -> String {
    let digits = digest.strip_prefix("b3:").map_or(16, |_| 19);
    digest.chars().take(digits).collect()
}

/// Cells are cut to this many characters: what they show may come from anybody.
const MAX_CELL: usize = 400;

/// Rows as aligned columns.
pub fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| super::one_line(cell).chars().take(MAX_CELL).collect::<String>()).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// An argument as one types it to a shell.
pub fn shell_quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(bytes(48 << 20), "48.00 MiB");
        assert_eq!((count(1usize, "part"), count(2u64, "part")), ("1 part".into(), "2 parts".into()));
        assert_eq!(short(&format!("b3:{}", "a".repeat(64))), format!("b3:{}", "a".repeat(16)));
        assert_eq!(table(&[vec!["a".into(), "bc".into()], vec!["ab".into(), "c".into()]]), "a   bc\nab  c\n");
        assert_eq!(table(&[vec!["x".repeat(70_000)]]).len(), MAX_CELL + 1);
        assert_eq!(shell_quoted("a/b:1"), "a/b:1");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
    }
}
