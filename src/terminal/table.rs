//! Text in columns.

use std::{array, iter};

use super::text::printable;

/// To which side of its column a text is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers, so that they can be compared.
    Right,
}

/// Rows below a head, each column as wide as its longest text and aligned to the left.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    aligned(head.map(|title| (title, Align::Left)), rows)
}

/// Rows below a head, each column as wide as its longest text. Cells may hold other people's words; no line ends with a
/// space.
pub(super) fn aligned<const N: usize>(head: [(&str, Align); N], rows: &[[String; N]]) -> String {
    let rows = rows.iter().map(|row| row.each_ref().map(|text| printable(text)));
    let rows: Vec<[String; N]> = iter::once(head.map(|(title, _)| title.to_owned())).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(head).zip(widths).map(|((text, (_, align)), width)| match align {
            Align::Left => format!("{text:<width$}"),
            Align::Right => format!("{text:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_one_another() {
        let rows = [["é".to_owned(), "1".to_owned()], ["long\ner".to_owned(), String::new()]];
        assert_eq!(table(["A", "B"], &rows), "A        B\né        1\nlong\u{fffd}er\n");
        let head = [("A", Align::Right), ("B", Align::Left)];
        assert_eq!(aligned(head, &rows), "      A  B\n      é  1\nlong\u{fffd}er\n");
    }
}
